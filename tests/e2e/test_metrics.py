"""GET /metrics: Prometheus text whose figures follow what happens."""
import re

LINE = re.compile(r"(# (HELP|TYPE) .+|[a-z_]+(\{[a-z]+=\"[^\"]*\"\})? \d+(\.\d+)?)")


def metrics(shop):
    reply = shop.get("/metrics")
    assert reply.status == 200, reply
    lines = reply.body.decode().splitlines()
    for line in lines:
        assert LINE.fullmatch(line), line
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_metrics_follow_a_sale(t):
    shop = t.shop()
    before = metrics(shop)
    sale = shop.open_sale(stock=5)
    order = shop.must_hold(sale, "ann")
    shop.must_pay(order)
    shop.must_hold(sale, "bob")
    after = metrics(shop)
    label = f'{{sale="{sale if isinstance(sale, str) else sale["id"]}"}}'
    assert after["flashd_sale_available_units" + label] == "3", after
    assert after["flashd_sale_held_units" + label] == "1", after
    assert after["flashd_sale_sold_units" + label] == "1", after
    assert after['flashd_sales{state="ACTIVE"}'] == "1", after
    assert int(after["flashd_events_committed_total"]) == int(before["flashd_events_committed_total"]) + 5
    answers = 'flashd_http_answers_total{class="2xx"}'
    assert int(after[answers]) >= int(before[answers]) + 4, after


def test_metrics_of_an_empty_server_are_whole(t):
    figures = metrics(t.shop())
    for name in ("flashd_http_connections", "flashd_streams", "flashd_storage_full",
                 "flashd_log_journal_lag_events", "flashd_io_uring_cq_overflows_total"):
        assert name in figures, name
