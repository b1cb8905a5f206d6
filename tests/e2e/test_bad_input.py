"""test_bad_input.py: every limit and every refusal of a message whose framing is clear. Framing: test_framing.py."""
import json

from harness import expect, expect_problem, iso, now_ms


def good_sale(**changes):
    body = {"name": "Trainers", "productQty": 5, "startsAt": iso(now_ms() + 60000),
            "endsAt": iso(now_ms() + 120000)}
    body.update(changes)
    return {key: value for key, value in body.items() if value is not Ellipsis}


def test_a_sale_with_a_bad_field_is_refused_by_its_name(t):
    shop = t.shop()
    cases = {
        "name": (..., None, "", 5, [], {}, "x" * 2000, "a\nb", "a\u007fb"),
        "productQty": (..., None, 0, -1, 1.5, "5", True, [], 1 << 31, 1 << 62, 1 << 64, -(1 << 70), 1e300),
        "startsAt": (..., None, "", "soon", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z",
                     "2026-01-01T25:00:00Z", "2026-01-01T00:00:00Zx", "2026-01-01T00:00:00",
                     "2026-01-01T00:00:00+02:", "2026-01-01T00:00:00+2", "2026-01-01T00:00:00+020",
                     "2026-01-01T00:00:00+24", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:Z", "2026-01-01T00Z", True, [], -1, 1e300, 1.5),
        "endsAt": (..., None, "", "later", "2026-01-01", {}, False, -5),
        "holdMs": (0, -1, 1.5, "60000", True, 1 << 62, []),
        "maxPerBuyer": (0, -1, 1.5, "1", False, 1 << 62),
        "waitlistMax": (-1, 1.5, "9", True, 1 << 62),
    }
    for field, values in cases.items():
        for value in values:
            reply = shop.post("/sales", good_sale(**{field: value}), token=shop.admin)
            try:
                expect_problem(reply, 400, "invalid-request", naming=field)
            except AssertionError as error:
                raise AssertionError(f"{field} = {value!r}: {error}") from None
    assert expect(shop.get("/sales"), 200) == {"sales": []}
    expect(shop.post("/sales", good_sale(), token=shop.admin), 201)


def test_a_sale_that_ends_before_it_starts_is_refused(t):
    shop = t.shop()
    starts = now_ms() + 60000
    for ends in (starts, starts - 1, iso(starts - 5000)):
        expect_problem(shop.post("/sales", good_sale(startsAt=starts, endsAt=ends), token=shop.admin),
                       400, "invalid-request", naming="endsAt")


def test_a_purchase_with_a_bad_field_is_refused_by_its_name(t):
    shop = t.shop()
    sale = shop.open_sale(stock=50, maxPerBuyer=5)
    cases = {
        "buyerName": (..., None, "", 5, True, [], {}, "x" * 65, "ä" * 33, "a\nb", "\u001f", "\u0001",
                      "a\u007fb", "a\u0085b"),
        "saleId": (5, True, [], {}, "", "x", "0" * 23, "0" * 25, "G" * 24, "A" * 24),
        "quantity": (0, -1, 1.5, "1", True, [], {}, 1 << 62, -(1 << 62), 1 << 70, 1e300),
    }
    for field, values in cases.items():
        for value in values:
            body = {"buyerName": "ann", "saleId": sale, "quantity": 1, field: value}
            body = {key: kept for key, kept in body.items() if kept is not Ellipsis}
            reply = shop.post("/buy", body)
            try:
                expect_problem(reply, 400, "invalid-request", naming=field)
            except AssertionError as error:
                raise AssertionError(f"{field} = {value!r}: {error}") from None
    now = shop.sale(sale)
    assert (now["available"], now["held"], now["waiting"]) == (50, 0, 0), "a refused request bought"


def test_a_name_of_exactly_the_limit_is_taken(t):
    shop = t.shop()
    sale = shop.open_sale(stock=50)
    for name in ("x", "x" * 64, "ä" * 32, "𝒳" * 16, "☃" * 21):
        assert shop.must_buy(sale, name)["buyerName"] == name


def test_a_bad_buyer_name_is_not_eligible(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)
    for body in ({}, {"buyerName": ""}, {"buyerName": 1}, {"buyerName": "x" * 65}, {"buyerName": "a\tb"}):
        expect_problem(shop.post(f"/sales/{sale}/eligible", body), 400, "invalid-request", "buyerName")


def test_a_bad_transaction_id_in_a_body_is_refused_by_its_name(t):
    shop = t.shop()
    for path in ("/paid", "/pay", "/cancel"):
        for value in (..., None, "", 5, True, [], {}, "x", "0" * 23, "0" * 25, "A" * 24, "g" * 24):
            body = {} if value is Ellipsis else {"transactionId": value}
            expect_problem(shop.post(path, body), 400, "invalid-request", naming="transactionId")


def test_a_body_that_is_not_a_json_object_is_refused(t):
    shop = t.shop()
    shop.open_sale(stock=5)
    bodies = [b"{", b"[]", b"1", b"null", b'"x"', b"true", b"{}}", b"{} {}", b"{'a':1}", b'{"a":1,}',
              b'{"buyerName":"ann"', b'{"buyerName":"a\xff\xfe"}', b'{"buyerName":"\xc0\x80"}',
              b'{"buyerName":"\xed\xa0\x80"}', b'{"buyerName":"\\ud800"}', b'{"buyerName":"a\nb"}',
              b'{"buyerName":"ann","quantity":01}', b'{"buyerName":"ann","quantity":NaN}',
              b"[" * 16000, b'{"a":' * 3000, b"\x00", b"\xef\xbb\xbf{}", b"{\x00}",
              b'{"buyerName":"ann"}\x00', b'/**/{"buyerName":"ann"}']
    for path in ("/buy", "/paid", "/cancel", "/pay"):
        for body in bodies:
            reply = shop.post(path, body)
            assert reply.status == 400, f"{body[:40]!r}: {reply!r}"
            assert reply.code in ("invalid-json", "invalid-request"), f"{body[:40]!r}: {reply!r}"
        for body in bodies[:9]:
            expect_problem(shop.post(path, body), 400, "invalid-json")
    expect_problem(shop.post("/sales", b"[]", token=shop.admin), 400, "invalid-json")
    assert shop.get("/health/live").status == 200


def test_an_escaped_nul_or_a_number_beyond_64_bits_is_refused(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    bodies = [("/buy", {"buyerName": "ann", "saleId": sale, "quantity": 1 << 63}),
              ("/buy", {"buyerName": "a\0b", "saleId": sale}), ("/buy", {"buyerName": "ann", "saleId": sale + "\0"}),
              ("/paid", {"transactionId": sale + "\0"}), (f"/sales/{sale}/eligible", {"buyerName": "\0"})]
    for path, body in bodies:
        reply = shop.post(path, body)
        assert reply.status == 400 and reply.code in ("invalid-request", "invalid-json"), reply
    assert shop.post("/sales", good_sale(name="a\0b"), token=shop.admin).status == 400
    assert shop.sale(sale)["available"] == 5


def test_an_empty_body_is_not_json(t):
    shop = t.shop()
    for path in ("/buy", "/paid", "/cancel", "/pay"):
        reply = shop.post(path, headers={"Content-Type": "application/json"})
        expect_problem(reply, 400, "invalid-json")


def test_a_field_that_appears_twice_is_refused_and_an_unknown_one_ignored(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5).encode()
    for body in (b'{"buyerName":"ann","buyerName":"bob","saleId":"%s"}', b'{"buyerName":"ann","saleId":"%s","quantity":1,"quantity":1}',
                 b'{"buyerName":"ann","saleId":"%s","buyer\\u004eame":"bob"}'):
        reply = shop.post("/buy", body % sale)
        assert (reply.status, reply.code) == (400, "invalid-request"), (body, reply)
    extra = b'{"x":{"buyerName":["y",{"z":null}]},"buyerName":"ann","saleId":"%s","":true,"n":-1.5e-3}'
    assert expect(shop.post("/buy", extra % sale), 201)["buyerName"] == "ann"


def test_json_that_is_not_taken_is_not_called_no_json_and_its_member_is_named(t):
    shop = t.shop()
    for body, name in (('{"buyerName":"a","buyerName":"b"}', "buyerName is repeated, at line 1, column 28"), ('{"quantity":1,\n"quantity" :2}', "quantity is rep"),
                       ('{"x":{"y":1,"z":[],"y":2}}', "y is rep"), (r'{"a\"b":1,"a\"b":2}', r'a\"b is rep'), (r'{"\\":1,"\\":2}', r"\\ is rep"),
                       ('{"":1,"":2}', "a value is rep"), ('{"ä":1,"ä":2}', "ä is rep"), ('{"%s":1,"%s":2}' % (("x" * 64,) * 2), "x" * 64 + " is rep"),
                       ('{"%s":1,"%s":2}' % (("x" * 65,) * 2), "a value is rep"), ('{"quantity":1e400}', "quantity is too large a number"),
                       ('{"quantity" :\t-%s}' % ("9" * 400), "quantity is too large a number"), ('{"x":["y",1e400]}', "a value is too large"),
                       ('[1e999]', "a value is too large"), (r'{"a\u0000":1}', r"a\u0000 has a name with a NUL"),
                       ('{"x":' + "[" * 3000 + "]" * 3000 + "}", "a value is nested too deeply")):
        expect_problem(shop.post("/buy", body.encode()), 400, "invalid-request", naming=name)
    expect_problem(shop.post("/sales", b'{"name":"n","productQty":1e400}', token=shop.admin), 400, "invalid-request", naming="productQty")


def test_escapes_in_a_body_mean_the_letters_they_stand_for(t):
    shop = t.shop()
    sale = shop.open_sale(stock=9)
    for body, name in ((r'"\u0061nn"', "ann"), (r'"\u00e9"', "é"), (r'"\ud83d\ude00"', "😀"), (r'"a\/b\\\"c"', 'a/b\\"c'),
                       (r'"\u2028\uFFFD"', "\u2028\ufffd")):
        text = '{ "buyer\\u004eame"\t:\r\n%s , "saleId":"%s" } ' % (body, sale)
        assert expect(shop.post("/buy", text.encode()), 201)["buyerName"] == name, text
    for body in (r'"\ud83d"', r'"\ude00\ud83d"', r'"\u12"', r'"\x41"', r'"\n"', '"\t"', r'"\u000a"', r'"\U0041"', '"a', "'a'"):
        text = '{"buyerName":%s,"saleId":"%s"}' % (body, sale)
        reply = shop.post("/buy", text.encode())
        assert reply.status == 400 and reply.code in ("invalid-json", "invalid-request"), (text, reply)


def test_json_that_is_almost_right_is_refused(t):
    shop = t.shop()
    sale = shop.open_sale(stock=9)
    for body in ('{"buyerName":"ann","saleId":"%s",}', '{"buyerName":"ann" "saleId":"%s"}', '{"buyerName":"ann","saleId":"%s"}}',
                 '{"buyerName":"ann","saleId":"%s"}x', '{"buyerName":"ann","saleId":"%s","x":}', '{"buyerName":"ann","saleId":"%s","x":1.}',
                 '{"buyerName":"ann","saleId":"%s","x":.5}', '{"buyerName":"ann","saleId":"%s","x":+1}', '{"buyerName":"ann","saleId":"%s","x":0x1}',
                 '{"buyerName":"ann","saleId":"%s","x":-}', '{"buyerName":"ann","saleId":"%s","x":1e}', '{"buyerName":"ann","saleId":"%s","x":tru}',
                 '{"buyerName":"ann","saleId":"%s","x":[1,]}', '{"buyerName":"ann","saleId":"%s","x":{"a"}}', '{"buyerName":"ann","saleId":"%s","x":[}]',
                 '{"buyerName":"ann","saleId":"%s",x:1}', '{"buyerName":"ann","saleId":"%s","x":Infinity}', '{"buyerName":"ann","saleId":"%s","x":00}',
                 '{"buyerName":"ann","saleId":"%s","quantity":1 1}', '{"buyerName":"ann","saleId":"%s","quantity":2-1}',
                 '{"buyerName":"ann","saleId":"%s","quantity":01}', '{"buyerName":"ann","saleId":"%s","quantity":-0.0}', '{,"buyerName":"ann","saleId":"%s"}'):
        reply = shop.post("/buy", (body % sale).encode())
        assert reply.status == 400 and reply.code in ("invalid-json", "invalid-request"), (body, reply)
    assert shop.sale(sale)["held"] == 0


def padded(body, size):
    data = json.dumps(body).encode()
    return data[:-1] + b" " * (size - len(data)) + b"}"


def test_a_body_of_16_kib_is_taken_and_one_byte_more_is_413(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    assert expect(shop.post("/buy", padded({"buyerName": "ann", "saleId": sale}, 16384)), 201)
    reply = shop.post("/buy", padded({"buyerName": "bob", "saleId": sale}, 16385))
    expect_problem(reply, 413, "payload-too-large", naming="16")
    assert (reply.header("connection") or "").lower() == "close"
    assert shop.sale(sale)["held"] == 1


def test_a_body_announced_as_too_large_is_413_before_it_is_sent(t):
    shop = t.shop()
    for length in ("16385", "99999999999", str(1 << 63)):
        with shop.wire() as wire:
            wire.send(f"POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      f"Content-Length: {length}\r\n\r\n")
            expect_problem(wire.read_reply(), 413, "payload-too-large")
            assert wire.closed()


def test_a_chunked_body_that_grows_too_large_is_413(t):
    shop = t.shop()
    with shop.wire() as wire:
        wire.send("POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n" + ("1000\r\n" + " " * 4096 + "\r\n") * 4)
        wire.send("1\r\n \r\n")
        expect_problem(wire.read_reply(), 413, "payload-too-large")
        assert wire.closed()


def test_a_request_line_of_4_kib_is_taken_and_one_byte_more_is_414(t):
    shop = t.shop()
    for size, status in ((4096, 200), (4097, 414), (9000, 414), (70000, 414)):
        line = "GET /api/v1/sales? HTTP/1.1"
        line = line.replace("?", "?" + "x" * (size - len(line)))
        assert len(line) == size
        with shop.wire() as wire:
            wire.send(f"{line}\r\nHost: x\r\n\r\n")
            reply = wire.read_reply()
            if status == 200:
                expect(reply, 200)
            else:
                expect_problem(reply, 414, "uri-too-long", naming="4")
                assert wire.closed()


def test_a_request_line_without_an_end_is_414(t):
    shop = t.shop()
    with shop.wire() as wire:
        wire.send("GET /" + "x" * 5000)
        expect_problem(wire.read_reply(), 414, "uri-too-long")
        assert wire.closed()


def test_64_header_fields_are_taken_and_65_are_431(t):
    shop = t.shop()
    for count, status in ((64, 200), (65, 431), (500, 431)):
        fields = "".join(f"X-{n}: y\r\n" for n in range(count - 1))
        with shop.wire() as wire:
            reply = wire.send(f"GET /sales HTTP/1.1\r\nHost: x\r\n{fields}\r\n").read_reply()
            if status == 200:
                expect(reply, 200)
            else:
                expect_problem(reply, 431, "headers-too-large", naming="64")
                assert wire.closed()


def test_headers_of_16_kib_are_taken_and_more_are_431(t):
    shop = t.shop()
    for size, status in ((16000, 200), (16384 + 64, 431), (60000, 431)):
        fields = "Host: x\r\n" + "".join(f"X-{n}: {'y' * 990}\r\n" for n in range(10))
        fields += f"X-Rest: {'z' * (size - len(fields) - len('X-Rest: ') - 2)}\r\n"
        assert len(fields) == size
        with shop.wire() as wire:
            reply = wire.send(f"GET /sales HTTP/1.1\r\n{fields}\r\n").read_reply()
            if status == 200:
                expect(reply, 200)
            else:
                expect_problem(reply, 431, "headers-too-large", naming="16")
                assert wire.closed()


def test_an_endless_header_is_431(t):
    shop = t.shop()
    with shop.wire() as wire:
        wire.send("GET /sales HTTP/1.1\r\nHost: x\r\nX-Endless: " + "y" * 17000)
        expect_problem(wire.read_reply(), 431, "headers-too-large")
        assert wire.closed()


def test_a_refused_request_leaves_a_clear_connection_usable(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    with shop.wire() as wire:
        for body, status in (('{"buyerName":""}', 400), ("[]", 400), (f'{{"buyerName":"ann","saleId":"{sale}"}}', 201)):
            wire.send(f"POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      f"Content-Length: {len(body)}\r\n\r\n{body}")
            assert wire.read_reply().status == status
        wire.send("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.read_reply().status == 404
        wire.send("POST /sales/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        assert wire.read_reply().status in (404, 405)
        wire.send(f"GET /sales/{sale} HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.read_reply().json["held"] == 1
