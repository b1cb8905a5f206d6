"""test_workers.py: several workers sell the same sale at the same time, and no unit twice."""
import random
import threading

from harness import eventually, expect, patient


def stampede(shop, threads, work):
    """Runs work(client, number) in threads that start together; returns their results, raises their errors."""
    results, errors, gate = [], [], threading.Barrier(threads)

    def run(number):
        client = shop.client()
        gate.wait()
        try:
            results.append(work(client, number))
        except Exception as error:
            errors.append(error)
        client.close()

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if errors:
        raise errors[0]
    return results


def test_a_stampede_never_sells_more_than_there_is(t):
    shop = t.shop("--workers", "2", "--net-threads", "2")
    sale = shop.open_sale(stock=100)

    def buy(client, me):
        told = []
        for n in range(60):
            reply = client.post("/api/v1/buy", {"buyerName": f"{me}-{n}", "saleId": sale})
            told.append((expect(reply, 201)["state"], reply.json["transactionId"]))
        return told

    told = [answer for some in stampede(shop, 10, buy) for answer in some]
    held = [order for state, order in told if state == "payment"]
    assert len(held) == 100 and len(told) == 600
    now = shop.sale(sale)
    assert (now["available"], now["held"], now["sold"], now["waiting"]) == (0, 100, 0, 500)

    def pay(client, me):
        for order in held[me::10]:
            expect(client.post("/api/v1/paid", {"transactionId": order}), 200)

    stampede(shop, 10, pay)
    shop.until(sale, within_s=5, sold=100, waiting=0, remainingQty=0)
    books = shop.balance_books()
    assert sum(order.state == "paid" for order in books.orders.values()) == 100
    assert sum(order.state == "cleared" for order in books.orders.values()) == 500


def test_those_who_wait_are_served_in_the_order_of_the_log(t):
    shop = t.shop("--workers", "2", "--net-threads", "2")
    sale = shop.open_sale(stock=20)

    def buy(client, me):
        return [expect(client.post("/api/v1/buy", {"buyerName": f"{me}-{n}", "saleId": sale}), 201)
                for n in range(15)]

    orders = [order for some in stampede(shop, 8, buy) for order in some]
    held = [order["transactionId"] for order in orders if order["state"] == "payment"]
    waiting = [order["transactionId"] for order in sorted(orders, key=lambda order: order["seq"])
               if order["state"] == "waiting"]
    assert len(held) == 20 and len(waiting) == 100

    def cancel(client, me):
        for order in held[me::4]:
            expect(client.post("/api/v1/cancel", {"transactionId": order}), 200)

    stampede(shop, 4, cancel)
    shop.until(sale, waiting=80, held=20)
    promoted = [payload["transactionId"] for kind, payload in shop.events() if kind == "order.promoted"]
    assert promoted == waiting[:20], "the longest waiting come first"
    shop.balance_books()


def test_one_buyer_who_clicks_in_many_tabs_gets_one_order(t):
    shop = t.shop("--workers", "2", "--net-threads", "2")
    sale = shop.open_sale(stock=1000)
    for attempt in range(10):
        answers = stampede(shop, 12, lambda client, _: client.post(
            "/api/v1/buy", {"buyerName": f"eager {attempt}", "saleId": sale}))
        assert sorted(reply.status for reply in answers) == [201] + [400] * 11
        assert {reply.code for reply in answers if reply.status == 400} == {"already-joined"}
    assert shop.sale(sale)["held"] == 10
    shop.balance_books()


def test_paying_and_cancelling_the_same_order_has_one_winner(t):
    shop = t.shop("--workers", "2", "--net-threads", "2")
    sale = shop.open_sale(stock=1000)
    for attempt in range(30):
        order = shop.must_hold(sale, f"buyer {attempt}")
        answers = stampede(shop, 6, lambda client, me: (me % 2, client.post(
            "/api/v1/paid" if me % 2 else "/api/v1/cancel", {"transactionId": order})))
        winners = [what for what, reply in answers if reply.status == 200]
        assert len(winners) == 1, answers
        assert shop.order(order)["state"] == ("paid" if winners[0] else "cancelled")
    shop.balance_books()


@patient
def test_paying_at_the_deadline_has_one_winner(t):
    shop = t.shop("--workers", "2", "--net-threads", "2")
    sale = shop.open_sale(stock=1000, holdMs=100)

    def race(client, me):
        import time
        seen = []
        for n in range(15):
            order = expect(client.post("/api/v1/buy", {"buyerName": f"{me}-{n}", "saleId": sale}), 201)
            time.sleep(0.095 + random.random() * 0.03)
            reply = client.post("/api/v1/paid", {"transactionId": order["transactionId"]})
            assert reply.status == 200 or reply.code == "hold-expired", reply
            seen.append((order["transactionId"], reply.status))
        return seen

    seen = dict(pair for some in stampede(shop, 8, race) for pair in some)
    books = shop.balance_books()
    for order, status in seen.items():
        assert (books.orders[order].state == "paid") == (status == 200), order
    assert shop.sale(sale)["sold"] == sum(status == 200 for status in seen.values())


@patient
def test_under_a_mixed_load_the_books_balance_and_memory_agrees(t):
    shop = t.shop("--workers", "2", "--net-threads", "2")
    seed = random.randrange(1 << 32)
    sale = shop.open_sale(stock=30, maxPerBuyer=3, holdMs=150)

    def trade(client, me):
        dice, known = random.Random(seed + me), []
        for n in range(150):
            what = dice.random()
            if what < 0.5 or not known:
                reply = client.post("/api/v1/buy", {"buyerName": f"{me % 2}-{dice.randrange(60)}", "saleId": sale,
                                             "quantity": dice.randint(1, 3)})
                assert reply.status == 201 or reply.code in ("already-joined", "sold-out"), (seed, reply)
                if reply.status == 201:
                    known.append(reply.json["transactionId"])
            else:
                path = "/api/v1/paid" if what < 0.55 else "/api/v1/cancel"
                reply = client.post(path, {"transactionId": dice.choice(known)})
                assert reply.status == 200 or reply.code in (
                    "not-in-payment", "hold-expired", "not-cancellable"), (seed, reply)

    stampede(shop, 8, trade)

    def quiet():
        told, now = shop.balance_books().sales[sale], shop.sale(sale)
        return told.held == 0 and all(now[key] == value for key, value in told.counters().items())
    eventually(quiet, within_s=5, what=f"no hold left and counters as in the books; seed {seed}: "
                                       f"{shop.balance_books().sales[sale].counters()} {shop.sale(sale)}")
