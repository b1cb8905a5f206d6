"""test_http_contract.py: every row of the contract's table: fields, types, formats, status codes, aliases."""
import time

from harness import (ID, UNKNOWN_ID, eventually, expect, expect_problem, iso, mint, ms_of, now_ms)

SALE_FIELDS = {"id": str, "name": str, "state": str, "productQty": int, "remainingQty": int,
               "available": int, "held": int, "sold": int, "waiting": int, "maxPerBuyer": int,
               "holdMs": int, "startsAt": str, "endsAt": str, "seq": int}


def assert_sale(sale):
    for name, kind in SALE_FIELDS.items():
        assert type(sale.get(name)) is kind, f"{name} in {sale}"
    assert ID.match(sale["id"]), sale
    assert sale["state"] in ("UPCOMING", "ACTIVE", "PAUSED", "ENDED"), sale
    assert sale["remainingQty"] == sale["productQty"] - sale["sold"], sale
    assert sale["available"] + sale["held"] + sale["sold"] == sale["productQty"], sale
    ms_of(sale["startsAt"]), ms_of(sale["endsAt"])


def test_a_created_sale_is_answered_with_all_its_fields(t):
    shop = t.shop()
    starts, ends = now_ms() + 60000, now_ms() + 120000
    sale = shop.new_sale(stock=7, name="Ünïcode ☃ \"quoted\"", startsAt=iso(starts), endsAt=iso(ends),
                         holdMs=45000, maxPerBuyer=2, waitlistMax=9)
    assert_sale(sale)
    assert sale["name"] == "Ünïcode ☃ \"quoted\""
    assert (sale["state"], sale["productQty"], sale["remainingQty"], sale["available"]) == (
        "UPCOMING", 7, 7, 7)
    assert (sale["held"], sale["sold"], sale["waiting"]) == (0, 0, 0)
    assert (sale["maxPerBuyer"], sale["holdMs"]) == (2, 45000)
    assert (ms_of(sale["startsAt"]), ms_of(sale["endsAt"])) == (starts, ends)
    assert shop.sale(sale["id"]) == sale


def test_a_sale_has_the_defaults_of_the_contract(t):
    sale = t.shop().new_sale(stock=1)
    assert (sale["holdMs"], sale["maxPerBuyer"]) == (60000, 1)


def test_times_of_a_sale_may_be_epoch_milliseconds(t):
    starts, ends = now_ms() + 60001, now_ms() + 120002
    sale = t.shop().new_sale(stock=1, startsAt=starts, endsAt=ends)
    assert (ms_of(sale["startsAt"]), ms_of(sale["endsAt"])) == (starts, ends)


def test_a_whole_number_may_be_written_with_a_fraction_or_an_exponent(t):
    shop = t.shop()
    starts = now_ms() + 60000
    sale = shop.new_sale(stock=7.0, startsAt=float(starts), maxPerBuyer=2.0)
    assert (sale["productQty"], sale["maxPerBuyer"], ms_of(sale["startsAt"])) == (7, 2, starts)
    body = b'{"buyerName":"ann","saleId":"%s","quantity":0.2e1}' % shop.open_sale(stock=7, maxPerBuyer=2).encode()
    assert expect(shop.post("/buy", body), 201)["quantity"] == 2


def test_times_of_a_sale_may_have_an_offset_or_no_fraction(t):
    sale = t.shop().new_sale(stock=1, startsAt="2099-01-02T03:04:05+02:00", endsAt="2099-01-02T03:04:05Z")
    assert sale["startsAt"] == "2099-01-02T01:04:05.000Z", sale
    assert sale["endsAt"] == "2099-01-02T03:04:05.000Z", sale


def test_times_of_a_sale_may_be_what_iso_8601_allows_besides(t):
    shop = t.shop()
    for text, meant in (("2099-01-02T03:04:05+0200", "2099-01-02T01:04:05.000Z"), ("2099-01-02T03:04:05,25-01", "2099-01-02T04:04:05.250Z"),
                        ("2099-01-02T03:04Z", "2099-01-02T03:04:00.000Z"), ("2099-01-02T03:04-05:30", "2099-01-02T08:34:00.000Z"),
                        ("2099-01-02T03:04:05.123456789+00:00", "2099-01-02T03:04:05.123Z")):
        sale = shop.new_sale(stock=1, startsAt=text, endsAt="2100-01-01T00:00:00Z")
        assert sale["startsAt"] == meant, (text, sale)


def test_all_sales_are_listed_with_all_their_fields(t):
    shop = t.shop()
    assert expect(shop.get("/sales"), 200) == {"sales": []}
    made = {shop.new_sale(stock=n)["id"] for n in (1, 2, 3)}
    listed = expect(shop.get("/sales"), 200)["sales"]
    for sale in listed:
        assert_sale(sale)
    assert {sale["id"] for sale in listed} == made and len(listed) == 3


def test_ids_sort_by_creation_time(t):
    shop = t.shop()
    sales = []
    for _ in range(5):
        sales.append(shop.new_sale(stock=100)["id"])
        time.sleep(0.003)
    assert sales == sorted(sales) and len(set(sales)) == 5
    shop.until(sales[0], state="ACTIVE")
    orders = []
    for n in range(20):
        orders.append(shop.must_hold(sales[0], f"buyer {n}"))
        time.sleep(0.003)
    assert orders == sorted(orders) and len(set(orders)) == 20
    assert all(ID.match(order) for order in orders)


def test_a_purchase_that_finds_units_is_held_for_payment(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5, holdMs=30000, maxPerBuyer=3)
    before = now_ms()
    order = shop.must_buy(sale, "ann", 2)
    after = now_ms()
    assert ID.match(order["transactionId"]) and type(order["seq"]) is int, order
    assert (order["saleId"], order["buyerName"], order["quantity"], order["state"]) == (
        sale, "ann", 2, "payment")
    assert before + 30000 - 50 <= ms_of(order["expiresAt"]) <= after + 30000 + 50, (before, order)
    assert "position" not in order
    now = shop.sale(sale)
    assert_sale(now)
    assert (now["available"], now["held"], now["sold"], now["waiting"]) == (3, 2, 0, 0)
    assert now["remainingQty"] == 5, "a held unit is not sold yet"


def test_a_purchase_that_finds_none_waits_at_a_position(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)
    shop.must_hold(sale, "ann")
    for position, buyer in enumerate(("bob", "cid", "dee"), 1):
        order = shop.must_buy(sale, buyer)
        assert (order["state"], order["position"], order["quantity"]) == ("waiting", position, 1), order
        assert "expiresAt" not in order
    now = shop.sale(sale)
    assert (now["available"], now["held"], now["waiting"]) == (0, 1, 3)


def test_a_transaction_shows_its_order_in_each_state(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)
    bought = shop.must_buy(sale, "ann")
    ann, bob = bought["transactionId"], shop.must_wait(sale, "bob")
    held = shop.order(ann)
    assert (held["transactionId"], held["saleId"], held["buyerName"], held["quantity"],
            held["state"]) == (ann, sale, "ann", 1, "payment")
    assert held["expiresAt"] == bought["expiresAt"] and "position" not in held
    waiting = shop.order(bob)
    assert (waiting["state"], waiting["position"]) == ("waiting", 1) and "expiresAt" not in waiting
    shop.must_pay(ann)
    paid = shop.order(ann)
    assert paid["state"] == "paid" and "expiresAt" not in paid and "position" not in paid
    assert shop.until_order(bob, "cleared")["state"] == "cleared"


def test_a_payment_is_answered_with_success_and_its_seq(t):
    shop = t.shop()
    sale = shop.open_sale(stock=2)
    order = shop.must_buy(sale, "ann")
    paid = shop.must_pay(order["transactionId"])
    assert paid["success"] is True and type(paid["seq"]) is int and paid["seq"] > order["seq"]
    now = shop.sale(sale)
    assert (now["remainingQty"], now["available"], now["held"], now["sold"]) == (1, 1, 0, 1)


def test_a_cancellation_is_answered_with_success_and_its_seq(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)
    order = shop.must_buy(sale, "ann")
    cancelled = shop.must_cancel(order["transactionId"])
    assert cancelled["success"] is True and cancelled["seq"] > order["seq"]
    assert shop.order(order["transactionId"])["state"] == "cancelled"
    now = shop.sale(sale)
    assert (now["available"], now["held"]) == (1, 0)


def test_the_dummy_provider_pays(t):
    shop = t.shop()
    sale = shop.open_sale(stock=2)
    order = shop.must_buy(sale, "ann")
    paid = expect(shop.post("/pay", {"transactionId": order["transactionId"], "quantity": 1}), 200)
    assert paid["success"] is True and paid["seq"] > order["seq"]
    assert shop.order(order["transactionId"])["state"] == "paid"
    expect_problem(shop.post("/pay", {"transactionId": order["transactionId"]}), 400, "not-in-payment")
    other = shop.must_hold(sale, "bob")
    expect_problem(shop.post("/pay", {"transactionId": other, "quantity": 2}), 400, "invalid-request", "quantity")
    assert shop.order(other)["state"] == "payment"


def test_a_seq_in_an_answer_is_the_seq_of_its_event(t):
    shop = t.shop()
    sale = shop.open_sale(stock=2)
    ann, bob = shop.must_buy(sale, "ann"), shop.must_buy(sale, "bob")
    paid, cancelled = shop.must_pay(ann["transactionId"]), shop.must_cancel(bob["transactionId"])
    kinds = dict(shop.rows("SELECT seq, event_type FROM domain_events"))
    assert kinds[ann["seq"]] == kinds[bob["seq"]] == "order.reserved"
    assert (kinds[paid["seq"]], kinds[cancelled["seq"]]) == ("order.paid", "order.cancelled")
    assert shop.sale(sale)["seq"] >= cancelled["seq"]


def test_a_buyer_who_has_no_order_is_eligible_and_one_who_has_is_not(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)
    path = f"/sales/{sale}/eligible"
    assert expect(shop.post(path, {"buyerName": "ann"}), 200) == {"eligible": True}
    ann, bob = shop.must_hold(sale, "ann"), shop.must_wait(sale, "bob")
    expect_problem(shop.post(path, {"buyerName": "ann"}), 400, "already-joined")
    expect_problem(shop.post(path, {"buyerName": "bob"}), 400, "already-joined")
    shop.must_cancel(bob)
    assert expect(shop.post(path, {"buyerName": "bob"}), 200) == {"eligible": True}
    shop.must_pay(ann)
    expect_problem(shop.post(path, {"buyerName": "ann"}), 400, "already-joined")


def test_eligible_asks_for_the_buyers_order_whatever_the_sale_is_doing(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)

    def eligible(of):
        return expect(shop.post(f"/sales/{of}/eligible", {"buyerName": "ann"}), 200)["eligible"]

    assert eligible(shop.new_sale(stock=1)["id"]), "UPCOMING"
    for verb in ("pause", "end"):
        expect(shop.post(f"/sales/{sale}/{verb}", token=shop.admin), 200)
        assert eligible(sale), verb


def test_pause_resume_and_end_answer_with_the_sale(t):
    shop = t.shop()
    sale = shop.open_sale(stock=3)
    for verb, state in (("pause", "PAUSED"), ("resume", "ACTIVE"), ("end", "ENDED")):
        answer = shop.must_steer(sale, verb)
        assert_sale(answer)
        assert (answer["id"], answer["state"]) == (sale, state), answer
        assert shop.sale(sale)["state"] == state


def test_the_paths_marked_with_a_star_are_served_without_the_prefix(t):
    shop = t.shop()
    sale = shop.open_sale(stock=3)
    assert expect(shop.request("GET", "/sales"), 200)["sales"][0]["id"] == sale
    assert expect(shop.request("GET", f"/sales/{sale}"), 200)["id"] == sale
    expect(shop.request("POST", f"/sales/{sale}/eligible", {"buyerName": "ann"}), 200)
    orders = [expect(shop.request("POST", "/buy", {"buyerName": name, "saleId": sale}), 201)["transactionId"]
              for name in ("ann", "bob", "cid")]
    expect(shop.request("POST", "/paid", {"transactionId": orders[0]}), 200)
    expect(shop.request("POST", "/pay", {"transactionId": orders[1]}), 200)
    expect(shop.request("POST", "/cancel", {"transactionId": orders[2]}), 200)
    assert expect(shop.request("GET", f"/transactions/{orders[2]}"), 200)["state"] == "cancelled"
    names = [buyer["buyerName"] for buyer in
             expect(shop.request("GET", f"/sales/{sale}/buyers"), 200)["buyers"]]
    assert names == ["ann", "bob"]


def test_health_tells_that_it_lives_and_is_ready(t):
    shop = t.shop()
    assert isinstance(expect(shop.get("/health/live"), 200), dict)
    assert isinstance(expect(shop.get("/health/ready"), 200), dict)


def test_health_tells_how_many_streams_there_are(t):
    told = expect(t.shop().get("/health/sse"), 200)
    assert (told["connections"], told["users"], told["maxPerUser"]) == (0, 0, 0), told


def test_what_does_not_exist_is_404(t):
    shop = t.shop()
    for path in ("/", "/nothing", "/api", "/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v1/salesx",
                 f"/api/v1/sales/{UNKNOWN_ID}/nothing", f"/api/v1/sales/{UNKNOWN_ID}/buyers/x",
                 "/api/v2/sales", "/api/v1/api/v1/sales"):
        expect_problem(shop.request("GET", path), 404, "not-found")
    for name in (UNKNOWN_ID, "1", "x" * 24, UNKNOWN_ID.upper(), UNKNOWN_ID + "0", "%30" * 8, "..", "'"):
        expect_problem(shop.get(f"/sales/{name}"), 404, "not-found")
        expect_problem(shop.get(f"/sales/{name}/buyers"), 404, "not-found")
        expect_problem(shop.get(f"/transactions/{name}"), 404, "not-found")
        expect_problem(shop.post(f"/sales/{name}/eligible", {"buyerName": "ann"}), 404, "not-found")
        for verb in ("pause", "resume", "end"):
            expect_problem(shop.steer(name, verb), 404, "not-found")
    expect_problem(shop.buy(UNKNOWN_ID, "ann"), 404, "not-found")
    expect_problem(shop.pay(UNKNOWN_ID), 404, "not-found")
    expect_problem(shop.cancel(UNKNOWN_ID), 404, "not-found")
    expect_problem(shop.post("/pay", {"transactionId": UNKNOWN_ID}), 404, "not-found")


def test_an_id_of_another_kind_is_not_found(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)
    order = shop.must_hold(sale, "ann")
    expect_problem(shop.get(f"/sales/{order}"), 404, "not-found")
    expect_problem(shop.get(f"/transactions/{sale}"), 404, "not-found")
    expect_problem(shop.pay(sale), 404, "not-found")
    expect_problem(shop.buy(order, "bob"), 404, "not-found")


def test_a_wrong_method_is_405_and_says_which_are_right(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)
    cases = [("DELETE", "/sales", {"GET", "POST"}), ("PUT", "/buy", {"POST"}), ("GET", "/buy", {"POST"}),
             ("GET", "/paid", {"POST"}), ("GET", "/cancel", {"POST"}), ("PATCH", "/pay", {"POST"}),
             ("POST", f"/sales/{sale}", {"GET"}), ("DELETE", f"/sales/{sale}/buyers", {"GET"}),
             ("GET", f"/sales/{sale}/pause", {"POST"}), ("GET", f"/sales/{sale}/eligible", {"POST"}),
             ("POST", f"/transactions/{UNKNOWN_ID}", {"GET"}), ("POST", "/health/live", {"GET"})]
    for method, path, right in cases:
        body = {} if method in ("POST", "PUT", "PATCH") else None
        reply = shop.request(method, "/api/v1" + path, body)
        expect_problem(reply, 405, "method-not-allowed")
        allowed = {word.strip() for word in (reply.header("allow") or "").split(",")}
        assert right <= allowed and method not in allowed, f"{method} {path}: Allow {allowed}"
        assert ("HEAD" in allowed) == ("GET" in allowed), f"{method} {path}: Allow {allowed}"
    expect_problem(shop.request("GET", "/buy"), 405, "method-not-allowed")


def test_head_answers_as_get_without_the_body(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)
    for path in ("/api/v1/sales", f"/api/v1/sales/{sale}", "/api/v1/health/live", f"/sales/{sale}"):
        got, head = shop.request("GET", path), shop.request("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        assert head.header("content-length") == str(len(got.body)), path
        assert head.header("content-type") == got.header("content-type")
    assert shop.request("HEAD", "/api/v1/nothing").status == 404
    assert shop.sale(sale)["id"] == sale, "the connection still works"


def test_a_body_that_is_not_json_by_its_type_is_415(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    order = shop.must_hold(sale, "ann")
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", "text/json",
                 "application/xml", "application", "application/json foo", "application/json\tx",
                 "application/json, text/plain", "application/json x; charset=utf-8"):
        expect_problem(shop.post("/buy", {"buyerName": "bob"}, content_type=kind), 415,
                       "unsupported-media-type")
    for path, body in (("/paid", {"transactionId": order}), ("/cancel", {"transactionId": order}),
                       ("/pay", {"transactionId": order}), (f"/sales/{sale}/eligible", {"buyerName": "b"})):
        expect_problem(shop.post(path, body, content_type="text/plain"), 415, "unsupported-media-type")
    expect_problem(shop.post("/sales", {}, content_type="text/plain", token=shop.admin), 415,
                   "unsupported-media-type")
    assert shop.order(order)["state"] == "payment", "a refused request changed something"


def test_a_json_type_may_carry_a_charset_and_any_letter_case(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    for n, kind in enumerate(("application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8",
                              "application/json \t; charset=utf-8", "application/json ;", " application/json\t ")):
        body = {"buyerName": f"buyer {n}", "saleId": sale}
        expect(shop.post("/buy", body, content_type=kind), 201)


def test_a_name_with_any_letters_survives_the_round_trip(t):
    shop = t.shop()
    sale = shop.open_sale(stock=2)
    body = {"buyerName": "Zoë \u2028 \"☃\" \\ </script>", "saleId": sale}
    reply = shop.post("/buy", body)
    assert expect(reply, 201)["buyerName"] == body["buyerName"]
    assert shop.order(reply.json["transactionId"])["buyerName"] == body["buyerName"]
    assert reply.header("content-type").split(";")[0] == "application/json"


def test_a_query_string_does_not_change_the_route(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)
    assert expect(shop.get(f"/sales/{sale}?x=1&y"), 200)["id"] == sale
    expect(shop.post("/buy?utm=mail", {"buyerName": "ann", "saleId": sale}), 201)


def test_a_buyer_listed_has_name_quantity_and_time_of_payment(t):
    shop = t.shop()
    sale = shop.open_sale(stock=9, maxPerBuyer=3)
    order = shop.must_hold(sale, "ann", 2)
    assert expect(shop.get(f"/sales/{sale}/buyers"), 200)["buyers"] == []
    before = now_ms()
    shop.must_pay(order)
    listed = expect(shop.get(f"/sales/{sale}/buyers"), 200)
    assert len(listed["buyers"]) == 1 and "next" not in listed, listed
    buyer = listed["buyers"][0]
    assert (buyer["buyerName"], buyer["quantity"]) == ("ann", 2) and "transactionId" not in buyer
    assert before - 50 <= ms_of(buyer["paidAt"]) <= now_ms() + 50


def test_buyers_are_listed_in_order_of_payment_and_in_pages(t):
    shop = t.shop()
    sale = shop.open_sale(stock=30)
    orders = [shop.must_hold(sale, f"buyer {n:02}") for n in range(25)]
    paid = list(range(25))[::-1][:13] + list(range(12))  # not the order of purchase
    for n in paid:
        shop.must_pay(orders[n])
    expected = [f"buyer {n:02}" for n in paid]
    path = f"/sales/{sale}/buyers"
    assert [b["buyerName"] for b in expect(shop.get(path), 200)["buyers"]] == expected
    for limit in (1, 7, 24, 25, 26):
        seen, after, pages = [], "", 0
        while True:
            page = expect(shop.get(f"{path}?limit={limit}{after}"), 200)
            assert len(page["buyers"]) <= limit
            seen += [buyer["buyerName"] for buyer in page["buyers"]]
            pages += 1
            if "next" not in page:
                break
            assert len(page["buyers"]) == limit and pages < 30, "a page that is not full has a next"
            after = f"&after={page['next']}"
        assert seen == expected, f"limit {limit}: {seen}"


def test_bad_paging_is_refused_by_name(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)
    for limit in ("0", "-1", "x", "1.5", "99999999999999999999", "1x", "+1"):
        expect_problem(shop.get(f"/sales/{sale}/buyers?limit={limit}"), 400, "invalid-request", "limit")
    for after in ("x", "-1", "99999999999999999999999"):
        expect_problem(shop.get(f"/sales/{sale}/buyers?after={after}"), 400, "invalid-request", "after")


def test_only_an_administrator_sees_transaction_ids_in_the_list(t):
    from harness import mint
    shop = t.shop()
    sale = shop.open_sale(stock=2)
    order = shop.must_hold(sale, "ann")
    shop.must_pay(order)
    path = f"/sales/{sale}/buyers"
    assert expect(shop.get(path, token=shop.admin), 200)["buyers"][0]["transactionId"] == order
    consumer = mint(sub="ann", role="consumer", exp=now_ms() // 1000 + 60)
    for reply in (shop.get(path), shop.get(path, token=consumer)):
        assert order not in reply.body.decode(), reply


def test_hidden_buyer_names_stay_hidden_from_the_public(t):
    shop = t.shop("--buyer-names", "hidden")
    sale = shop.open_sale(stock=2)
    shop.must_pay(shop.must_hold(sale, "ann-the-secretive"))
    listed = shop.get(f"/sales/{sale}/buyers")
    assert len(expect(listed, 200)["buyers"]) == 1
    assert b"secretive" not in listed.body
    assert expect(shop.get(f"/sales/{sale}/buyers", token=shop.admin),
                  200)["buyers"][0].get("buyerName") == "ann-the-secretive"


def test_pipelined_requests_are_answered_in_order_also_when_some_wait_for_a_commit(t):
    shop = t.shop()
    sale = shop.open_sale(stock=50)
    host = "Host: x\r\n"
    message, expected = "", []
    for n in range(20):
        body = f'{{"buyerName":"buyer {n}","saleId":"{sale}"}}'
        message += (f"POST /buy HTTP/1.1\r\n{host}Content-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}")
        message += f"GET /sales/{sale} HTTP/1.1\r\n{host}\r\n"
        expected += [(201, f"buyer {n}"), (200, None)]
    with shop.wire() as wire:
        wire.send(message)
        for status, buyer in expected:
            reply = wire.read_reply()
            assert reply.status == status and reply.json.get("buyerName") == buyer, (status, buyer, reply)


def test_a_pipelined_read_sees_the_purchase_before_it(t):
    shop = t.shop()
    sale = shop.open_sale(stock=50)
    body = f'{{"buyerName":"ann","saleId":"{sale}"}}'
    with shop.wire() as wire:
        wire.send(f"POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
                  f"{len(body)}\r\n\r\n{body}GET /sales/{sale} HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.read_reply().status == 201
        assert wire.read_reply().json["held"] == 1


def test_a_request_may_come_byte_by_byte(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    body = f'{{"buyerName":"ann","saleId":"{sale}"}}'
    with shop.wire() as wire:
        for letter in (f"POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                       f"Content-Length: {len(body)}\r\n\r\n{body}"):
            wire.send(letter)
            time.sleep(0.001)
        assert wire.read_reply().status == 201


def test_a_body_may_come_in_chunks(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    body = f'{{"buyerName":"ann","saleId":"{sale}"}}'
    chunks = "".join(f"{len(body[n:n + 7]):x};ext=1\r\n{body[n:n + 7]}\r\n" for n in range(0, len(body), 7))
    with shop.wire() as wire:
        wire.send("POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  f"Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\nTrailer: x\r\n\r\n")
        assert wire.read_reply().status == 201
        wire.send(f"GET /sales/{sale} HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.read_reply().json["held"] == 1


def test_a_client_that_asks_first_is_told_to_continue(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    body = f'{{"buyerName":"ann","saleId":"{sale}"}}'
    with shop.wire() as wire:
        wire.send("POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n")
        assert wire.read_reply().status == 100
        wire.send(body)
        assert wire.read_reply().status == 201


def test_a_client_that_asks_first_is_told_at_once_what_its_head_decides(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    json_type, consumer = "Content-Type: application/json\r\n", mint(exp=now_ms() // 1000 + 60, sub="c", role="consumer")
    for line, fields, status in (("POST /nix", json_type, 404), ("PUT /buy", json_type, 405), ("HEAD /buy", json_type, 405),
                                 ("POST /buy", "Content-Type: text/plain\r\n", 415), ("POST /buy", "", 415),
                                 ("POST /api/v1/sales", json_type, 401),
                                 ("POST /api/v1/sales", f"{json_type}Authorization: Bearer {consumer}\r\n", 403)):
        for framing in ("Content-Length: 9\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"):
            for body in ("", "5"):
                with shop.wire() as wire:
                    wire.send(f"{line} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{fields}{framing}{body}")
                    reply = wire.read_reply(head_only=line.startswith("HEAD"))
                    assert reply.status == status, (line, fields, reply)
                    assert reply.header("connection") == "close", reply.fields
                    assert wire.closed(), (line, fields)
    assert shop.sale(sale)["held"] == 0


def test_a_client_that_asks_first_and_does_not_wait_gets_one_answer(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    for n, (at, statuses) in enumerate(((5, [201]), (0, [100, 201]))):
        body = f'{{"buyerName":"b{n}","saleId":"{sale}"}}'
        with shop.wire() as wire:
            wire.send("POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n{body[:at]}")
            time.sleep(0.05)
            wire.send(body[at:])
            assert [wire.read_reply().status for _ in statuses] == statuses, at
            wire.send(f"GET /sales/{sale} HTTP/1.1\r\nHost: x\r\n\r\n")
            assert wire.read_reply().json["held"] == n + 1


def test_a_connection_closes_when_the_client_asks_for_it_or_speaks_http_1_0(t):
    shop = t.shop()
    for message in ("GET /sales HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                    "GET /sales HTTP/1.0\r\nHost: x\r\n\r\n"):
        with shop.wire() as wire:
            reply = wire.send(message).read_reply()
            assert reply.status == 200
            assert (reply.header("connection") or "").lower() == "close", reply.fields
            assert wire.closed()


def test_http_1_0_keeps_its_connection_when_it_asks_and_is_told_so(t):
    shop = t.shop()
    ask = "Host: x\r\nConnection: keep-alive\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n"
    body = '{"buyerName":"ann"}'
    refusal = "POST /buy HTTP/1.1\r\n" + ask + body
    with shop.wire() as wire:
        assert wire.send(refusal).read_reply().header("connection") is None, "HTTP/1.1 needs no words"
        for message, status in (("GET /sales HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", 200),
                                (refusal.replace("1.1", "1.0"), 400), (refusal.replace("1.1", "1.0"), 400)):
            reply = wire.send(message).read_reply()
            assert reply.status == status, reply
            assert (reply.header("connection") or "").lower() == "keep-alive", reply.fields
        assert wire.send(refusal).read_reply().header("connection") is None


def test_the_target_may_be_in_absolute_form(t):
    shop = t.shop()
    with shop.wire() as wire:
        wire.send("GET http://example.com/api/v1/sales HTTP/1.1\r\nHost: example.com\r\n\r\n")
        assert wire.read_reply().status == 200


def test_a_client_that_half_closes_still_gets_its_answer(t):
    import socket
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    body = f'{{"buyerName":"ann","saleId":"{sale}"}}'
    with shop.wire() as wire:
        wire.send("POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  f"Content-Length: {len(body)}\r\n\r\n{body}")
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.read_reply().status == 201
        assert wire.closed()


def test_a_client_that_leaves_before_its_answer_does_no_harm(t):
    shop = t.shop()
    sale = shop.open_sale(stock=500)
    for n in range(50):
        body = f'{{"buyerName":"buyer {n}","saleId":"{sale}"}}'
        with shop.wire() as wire:
            wire.send("POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      f"Content-Length: {len(body)}\r\n\r\n{body}")
    eventually(lambda: shop.sale(sale)["held"] == 50, what="50 held")
    shop.balance_books()
