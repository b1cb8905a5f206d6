"""test_framing.py: anything ambiguous about where a message ends is 400 and the connection closes (RFC 9112)."""
from harness import expect_problem

GET = b"GET /sales HTTP/1.1\r\n"
SMUGGLED = b"GET /api/v1/nothing-smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def post(*fields, body=b"", host=b"Host: x\r\n"):
    return (b"POST /buy HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\n"
            + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body)


def assert_refused(shop, message, statuses=(400,)):
    """One problem, then the end: what follows the ambiguous message must never be read as a request."""
    try:
        with shop.wire() as wire:
            wire.send(message + SMUGGLED)
            reply = wire.read_reply()
            assert reply.status in statuses, f"expected {statuses}, got {reply!r}"
            expect_problem(reply, reply.status, reply.code)
            if reply.status == 400:
                assert reply.code == "bad-request", reply
            assert (reply.header("connection") or "").lower() == "close", reply.fields
            assert wire.closed(), "the connection stayed open or something more was answered"
    except (AssertionError, OSError) as error:
        raise AssertionError(f"{message[:120]!r}: {error}") from None


def test_content_length_and_transfer_encoding_together_are_refused(t):
    shop = t.shop()
    for fields in ((b"Content-Length: 5", b"Transfer-Encoding: chunked"),
                   (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
                   (b"Content-Length: 0", b"Transfer-Encoding: chunked"),
                   (b"content-length: 5", b"TRANSFER-ENCODING: chunked")):
        assert_refused(shop, post(*fields, body=b"0\r\n\r\n"))


def test_two_content_lengths_are_refused_also_when_they_agree(t):
    shop = t.shop()
    for fields in ((b"Content-Length: 2", b"Content-Length: 2"), (b"Content-Length: 2", b"Content-Length: 3"),
                   (b"Content-Length: 2, 2",), (b"Content-Length: 2", b"content-length: 2")):
        assert_refused(shop, post(*fields, body=b"{}"))


def test_a_content_length_that_is_no_plain_number_is_refused(t):
    shop = t.shop()
    for value in (b"+2", b"-2", b"0x2", b"2.0", b"2 2", b"two", b"", b"\"2\"", b"2;", b"1e1",
                  b"99999999999999999999999999"):
        assert_refused(shop, post(b"Content-Length: " + value, body=b"{}"),
                       (400, 413) if value.startswith(b"9999") else (400,))


def test_a_transfer_coding_other_than_one_chunked_is_refused(t):
    shop = t.shop()
    for value in (b"gzip", b"gzip, br", b"chunked, gzip", b"chunked, chunked", b"xchunked", b"chunkedx",
                  b"identity", b"", b"\"chunked\"", b"chunked;q=1", b"\x0bchunked"):
        assert_refused(shop, post(b"Transfer-Encoding: " + value, body=b"0\r\n\r\n"))
    assert_refused(shop, post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), (501,))
    assert_refused(shop, post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"))


def test_a_bare_line_feed_is_refused(t):
    shop = t.shop()
    assert_refused(shop, b"GET /sales HTTP/1.1\nHost: x\n\n")
    assert_refused(shop, b"GET /sales HTTP/1.1\r\nHost: x\n\r\n")
    assert_refused(shop, b"GET /sales HTTP/1.1\r\nHost: x\r\n\n")
    assert_refused(shop, b"GET /sales HTTP/1.1\nHost: x\r\n\r\n")
    assert_refused(shop, b"GET /sales HTTP/1.1\r\nHost: x\r\nX-A: a\nX-B: b\r\n\r\n")


def test_a_bare_carriage_return_is_refused(t):
    shop = t.shop()
    assert_refused(shop, b"GET /sales HTTP/1.1\rHost: x\r\n\r\n")
    assert_refused(shop, b"GET /sales HTTP/1.1\r\nHost: x\r\nX-A: a\rb\r\n\r\n")
    assert_refused(shop, b"GET /sales HTTP/1.1\r\nHost: x\r\nX-A: a\r\r\n\r\n")
    assert_refused(shop, b"GET /sales HTTP/1.1\r\nHost: x\rX-A: a\r\n\r\n")


def test_a_folded_header_is_refused(t):
    shop = t.shop()
    for white in (b" ", b"\t"):
        assert_refused(shop, GET + b"Host: x\r\nX-A: a\r\n" + white + b"b\r\n\r\n")
        assert_refused(shop, GET + white + b"Host: x\r\n\r\n")
        assert_refused(shop, post(b"Transfer-Encoding:\r\n" + white + b"chunked", body=b"0\r\n\r\n"))


def test_a_host_that_is_missing_repeated_or_malformed_is_refused(t):
    shop = t.shop()
    assert_refused(shop, GET + b"\r\n")
    assert_refused(shop, GET + b"X-Host: x\r\n\r\n")
    assert_refused(shop, GET + b"Host: x\r\nHost: x\r\n\r\n")
    assert_refused(shop, GET + b"Host: x\r\nhost: y\r\n\r\n")
    for host in (b"a b", b"a/b", b"a@b", b"a:b", b"a:80:80", b"[::1", b"a\\b", b"a?b", b"a#b", b"<a>"):
        assert_refused(shop, GET + b"Host: " + host + b"\r\n\r\n")


def test_a_good_host_is_taken(t):
    shop = t.shop()
    for host in (b"x", b"example.com:8080", b"127.0.0.1", b"[::1]:80", b"xn--bcher-kva.example", b"a_b"):
        with shop.wire() as wire:
            assert wire.send(GET + b"Host: " + host + b"\r\n\r\n").read_reply().status == 200, host


def test_a_malformed_header_field_is_refused(t):
    shop = t.shop()
    for field in (b"X-A : a", b"X A: a", b": a", b"X-A", b"X-\x00A: a", b"X-A: a\x00b", b"X-A: a\x01b",
                  b"X(A): a", b"X-\xc3\xa4: a", b"Content-Length : 5", b"X-A: \x7f"):
        assert_refused(shop, GET + b"Host: x\r\n" + field + b"\r\n\r\n")


def test_a_malformed_request_line_is_refused(t):
    shop = t.shop()
    for line in (b"GET  /sales HTTP/1.1", b"GET /sales  HTTP/1.1", b"GET /sales", b"GET", b"GET /sales HTTP/1.1 ",
                 b"GET /sales http/1.1", b"GET /sales HTTP/1", b"GET /sales HTTP/1.11", b"GET sales HTTP/1.1",
                 b"GET /sa\x00les HTTP/1.1", b"GET /sa\x01les HTTP/1.1", b"G@T /sales HTTP/1.1",
                 b" GET /sales HTTP/1.1", b"GET\t/sales\tHTTP/1.1", b"GET /sales#x HTTP/1.1",
                 b"\x16\x03\x01\x02\x00\x01\x00\x01"):
        assert_refused(shop, line + b"\r\nHost: x\r\n\r\n", (400, 405, 501, 505))
    for version in (b"HTTP/2.0", b"HTTP/1.2", b"HTTP/0.9", b"HTTP/9.9"):
        assert_refused(shop, b"GET /sales " + version + b"\r\nHost: x\r\n\r\n", (400, 505))


def test_a_malformed_chunk_is_refused(t):
    shop = t.shop()
    for body in (b"zz\r\n{}\r\n0\r\n\r\n", b"2\r\n{}0\r\n\r\n", b"-2\r\n{}\r\n0\r\n\r\n", b"0x2\r\n{}\r\n0\r\n\r\n",
                 b"2\n{}\n0\n\n", b"2\r\n{}X\r\n0\r\n\r\n", b" 2\r\n{}\r\n0\r\n\r\n", b"\r\n{}\r\n",
                 b"+2\r\n{}\r\n0\r\n\r\n", b"2 2\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\r\n0\r\n\n",
                 b"2\r\n{}\n0\r\n\r\n", b"2\r{}\r\n0\r\n\r\n"):
        assert_refused(shop, post(b"Transfer-Encoding: chunked", body=body))
    assert_refused(shop, post(b"Transfer-Encoding: chunked", body=b"ffffffffffffffff1\r\n{}\r\n0\r\n\r\n"),
                   (400, 413))
    assert_refused(shop, post(b"Transfer-Encoding: chunked", body=b"fffffffffffffffe\r\n{}\r\n0\r\n\r\n"),
                   (400, 413))


def test_an_http_1_0_message_with_a_transfer_encoding_is_refused(t):
    shop = t.shop()
    assert_refused(shop, b"POST /buy HTTP/1.0\r\nHost: x\r\nContent-Type: application/json\r\n"
                         b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400, 501))


def test_an_expectation_that_nobody_knows_is_417(t):
    shop = t.shop()
    with shop.wire() as wire:
        reply = wire.send(post(b"Expect: miracles", b"Content-Length: 2", body=b"{}")).read_reply()
        assert reply.status == 417, reply


def test_empty_lines_before_a_request_are_skipped(t):
    shop = t.shop()
    with shop.wire() as wire:
        assert wire.send(b"\r\n\r\n" + GET + b"Host: x\r\n\r\n").read_reply().status == 200
        assert wire.send(b"\r\n" + GET + b"Host: x\r\n\r\n").read_reply().status == 200


def test_a_request_to_upgrade_is_answered_as_if_it_had_not_asked(t):
    shop = t.shop()
    with shop.wire() as wire:
        wire.send(GET + b"Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                        b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n" + GET + b"Host: x\r\n\r\n")
        assert wire.read_reply().status == 200
        assert wire.read_reply().status == 200


def test_good_requests_before_a_bad_one_are_answered_first(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5).encode()
    body = b'{"buyerName":"ann","saleId":"' + sale + b'"}'
    with shop.wire() as wire:
        wire.send(post(b"Content-Length: %d" % len(body), body=body) + GET + b"\r\n" + SMUGGLED)
        assert wire.read_reply().status == 201
        assert wire.read_reply().status == 400
        assert wire.closed()


def test_noise_is_refused_and_does_no_harm(t):
    import random
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    good = post(b"Content-Length: 2", body=b"{}") + GET + b"Host: x\r\n\r\n"
    for _ in range(300):
        noise = bytearray(good)
        for _ in range(dice.randint(1, 6)):
            noise[dice.randrange(len(noise))] = dice.choice(b"\x00\r\n :\t0A\xff,/")
        with shop.wire(timeout_s=2) as wire:
            try:
                wire.send(bytes(noise))
                wire.socket.shutdown(1)
                while True:
                    reply = wire.read_reply()
                    assert reply.status != 500, (seed, bytes(noise), reply)
            except (ConnectionError, TimeoutError, OSError):
                pass
    assert shop.sale(sale)["available"] == 5, seed
