"""
test_checker.py: the checker's own tests: it accepts what is right and rejects what is wrong.

Wrong histories are right ones with one thing changed, so that the finding must be that thing. And on thousands of
small random histories, right and spoiled, the checker is compared with an exhaustive search that knows nothing of
seqs: it must find some order of all operations for each history that the checker accepts.
"""
import copy
import random
import traceback

from checker import ANSWERS, FOREVER, OVERLOOKED, Event, Op, Terms, Timeline, Wrong, check

STATE = {"order.reserved": "payment", "order.queued": "waiting"}


class Story:
    """A history told in the order in which it happened: each operation takes [t, t + 10], the next begins at
    t + 20. overlap(): those that follow all take the same time."""

    def __init__(self, stock=2, waitlist_max=10, max_per_buyer=2, hold_ns=10 ** 12):
        self.terms = Terms(stock, max_per_buyer, waitlist_max, hold_ns)
        self.ops, self.events, self.now, self.step = [], [], 0, 20
        self.event("sale.created")
        self.event("sale.started")

    def event(self, kind, order=None, buyer=None, quantity=None):
        self.events.append(Event(len(self.events) + 1, kind, order, buyer, quantity))
        return len(self.events)

    def op(self, kind, status, told, seq=None, **about):
        self.now += self.step
        op = Op(kind, self.now, self.now + 10, status, told, seq, **about)
        self.ops.append(op)
        return op

    def row(self):
        timeline = Timeline(self.terms)
        for event in self.events:
            timeline.apply(event)
        return timeline.rows[-1]

    # --- what happens

    def buy(self, buyer, quantity=1, kind="order.reserved"):
        order = f"order {len(self.events) + 1}"
        seq = self.event(kind, order, buyer, quantity)
        told = {"order": order, "state": STATE[kind], "position": None}
        if kind == "order.queued":
            told["position"] = self.row().waiting
        self.op("buy", 201, told, seq, buyer=buyer, quantity=quantity)
        return order

    def wait(self, buyer, quantity=1):
        return self.buy(buyer, quantity, "order.queued")

    def move(self, order, kind):
        about = next(event for event in self.events if event.order == order)
        return self.event(kind, order, about.buyer, about.quantity)

    def pay(self, order):
        return self.op("pay", 200, {}, self.move(order, "order.paid"), order=order)

    def cancel(self, order):
        return self.op("cancel", 200, {}, self.move(order, "order.cancelled"), order=order)

    def get(self):
        told = self.row()._asdict()
        del told["paid"]
        return self.op("get", 200, told, len(self.events))

    def look(self, order, state, position=None):
        seq = [event.seq for event in self.events if event.order == order][-1]
        return self.op("look", 200, {"state": state, "position": position}, seq, order=order)

    def refused(self, kind, code, state=None, **about):
        told = {"code": code} | ({"state": state} if state else {})
        return self.op(kind, 400, told, **about)

    # --- the verdict

    def accepted(self):
        check(self.terms, self.ops, self.events)

    def rejected(self, because):
        try:
            check(self.terms, self.ops, self.events)
        except Wrong as error:
            assert because in str(error), f"rejected, but not because of {because!r}: {error}"
            return
        raise AssertionError("accepted")


def a_day(story=None):
    """A right history with a bit of everything; (story, orders of ann, bob, cid)."""
    story = story or Story()
    ann, bob = story.buy("ann"), story.buy("bob")
    cid = story.wait("cid")
    story.refused("buy", "already-joined", "waiting", buyer="cid", quantity=1)
    story.get()
    story.look(cid, "waiting", 1)
    story.cancel(ann)
    story.move(cid, "order.promoted")
    story.look(cid, "payment")
    story.pay(bob)
    story.op("buyers", 200, {"buyers": ["bob"]})
    story.refused("cancel", "not-cancellable", "paid", order=bob)
    story.refused("pay", "not-in-payment", "cancelled", order=ann)
    story.op("eligible", 200, {}, buyer="ann")
    return story, ann, bob, cid


# ----------------------------------------------------------------------------------- what is right

def test_a_right_history_is_accepted():
    a_day()[0].accepted()


def test_operations_that_overlap_may_happen_in_any_order():
    story = Story(stock=1)
    story.step = 0
    ann = story.buy("ann")
    before = story.get()
    before.told, before.seq = {"available": 1, "held": 0, "sold": 0, "waiting": 0, "phase": "ACTIVE"}, 2
    story.look(ann, "payment")
    story.accepted()


def test_who_met_a_gift_that_was_under_way_may_have_to_wait():
    story = Story(stock=1)
    ann = story.buy("ann")
    story.step, story.now = 0, story.now + 20
    story.cancel(ann)
    bob = story.wait("bob")
    story.refused("buy", "already-joined", "waiting", buyer="bob", quantity=1)
    story.move(bob, "order.promoted")
    story.accepted()


# ----------------------------------------------------------------------------------- what is wrong

def test_a_unit_sold_twice():
    story = Story(stock=1)
    story.buy("ann")
    story.buy("bob")
    story.rejected("only 0 are free")


def test_a_purchase_that_was_answered_and_is_lost():
    story = a_day()[0]
    story.op("buy", 201, {"order": "order 99", "state": "payment", "position": None}, 99, buyer="dee", quantity=1)
    story.rejected("not what the log has there")


def test_two_answers_for_one_event():
    story, ann, *_ = a_day()
    first = story.ops[0]
    story.op("buy", 201, first.told, first.seq, buyer="ann", quantity=1)
    story.rejected("two answers for one event")


def test_a_change_that_nobody_asked_for():
    story = a_day()[0]
    story.event("order.reserved", "order 98", "dee", 1)
    story.rejected("only 0 are free")
    story = Story()
    story.event("order.reserved", "order 98", "dee", 1)
    story.rejected("nobody was told")


def test_a_stale_read_after_an_answered_write():
    story = Story()
    before = story.get()
    story.buy("ann")
    story.op("get", 200, before.told, before.seq)
    story.rejected("no place for it")


def test_a_stale_look_at_an_order_after_its_payment_was_answered():
    story = Story()
    ann = story.buy("ann")
    stale = story.look(ann, "payment")
    story.pay(ann)
    story.op("look", 200, stale.told, stale.seq, order=ann)
    story.rejected("no place for it")


def test_two_reads_that_see_time_run_backwards():
    story = Story()
    before = story.get()
    write = story.buy("ann") and story.ops[-1]
    story.get()
    story.op("get", 200, before.told, before.seq)
    write.end = FOREVER  # still under way: either read alone would be right
    story.rejected("no place for it")


def test_a_read_ahead_of_a_write_that_has_not_begun():
    story = Story()
    story.buy("ann")
    story.ops.reverse()
    early = story.get()
    early.begin, early.end = 1, 2
    story.rejected("no place for it")


def test_counters_that_never_were():
    story = a_day()[0]
    story.get().told["sold"] += 1
    story.rejected("no place for it")


def test_a_queue_that_was_overtaken():
    story = Story(stock=1)
    ann = story.buy("ann")
    story.wait("bob")
    cid = story.wait("cid")
    story.cancel(ann)
    story.move(cid, "order.promoted")
    story.rejected("has waited longer")


def test_a_buyer_who_overtook_those_who_wait():
    story = Story(stock=1)
    ann = story.buy("ann")
    story.wait("bob")
    story.cancel(ann)
    story.buy("cid")
    story.rejected("1 wait")


def test_a_buyer_who_waits_for_ever():
    story = Story(stock=1)
    ann = story.buy("ann")
    story.wait("bob")
    story.cancel(ann)
    story.rejected("waits for ever")


def test_a_buyer_who_had_to_wait_though_units_were_free():
    story = Story(stock=1)
    ann = story.buy("ann")
    story.cancel(ann)  # answered before bob asks
    bob = story.wait("bob")
    story.move(bob, "order.promoted")
    story.rejected("had to wait though units were free")


def test_a_refusal_for_want_of_room_when_there_was_room():
    story = Story(stock=1, waitlist_max=1)
    story.buy("ann")
    story.refused("buy", "waitlist-full", buyer="bob", quantity=1)
    story.rejected("no place for it")


def test_a_refusal_as_sold_out_with_units_left():
    story = Story(stock=2)
    story.pay(story.buy("ann"))
    story.refused("buy", "sold-out", buyer="bob", quantity=1)
    story.rejected("no place for it")


def test_a_refusal_because_of_an_order_that_is_no_longer_live():
    story = Story()
    story.cancel(story.buy("ann"))
    story.refused("buy", "already-joined", "payment", buyer="ann", quantity=1)
    story.rejected("no place for it")


def test_a_buyer_with_two_live_orders():
    story = Story()
    story.buy("ann")
    story.buy("ann")
    story.rejected("the buyer has")


def test_an_order_paid_twice():
    story = Story()
    ann = story.buy("ann")
    story.pay(ann)
    story.pay(ann)
    story.rejected("the order was paid")


def test_a_payment_of_a_cancelled_order():
    story = Story()
    ann = story.buy("ann")
    story.cancel(ann)
    story.pay(ann)
    story.rejected("the order was cancelled")


def test_a_sale_in_the_pause():
    story = Story()
    told = {"phase": "PAUSED", "available": 2, "held": 0, "sold": 0, "waiting": 0}
    story.op("pause", 200, told, story.event("sale.paused"))
    story.accepted()
    story.buy("ann")
    story.rejected("the sale was PAUSED")


def test_seqs_against_real_time():
    story = Story()
    story.buy("ann")
    story.buy("bob")
    first, second = story.ops
    first.begin, first.end, second.begin, second.end = second.begin, second.end, first.begin, first.end
    story.rejected("has to be after")


def test_a_hold_that_expired_too_early():
    story = Story(hold_ns=10 ** 9)
    ann = story.buy("ann")
    story.move(ann, "order.expired")
    story.look(ann, "expired")
    story.rejected("expired too early")
    story.ops[-1].begin += 10 ** 9
    story.ops[-1].end += 10 ** 9
    story.accepted()


def test_a_list_of_buyers_in_another_order():
    story = Story()
    ann, bob = story.buy("ann"), story.buy("bob")
    story.pay(bob)
    story.pay(ann)
    story.op("buyers", 200, {"buyers": ["bob", "ann"]})
    story.accepted()
    story.ops[-1].told["buyers"].reverse()
    story.rejected("no place for it")


def test_a_gift_is_no_excuse_for_who_asked_after_it():
    """The same seqs as where a gift was under way, but it had been answered."""
    story = Story(stock=1, waitlist_max=0)
    ann = story.buy("ann")
    story.cancel(ann)
    story.refused("buy", "waitlist-full", buyer="bob", quantity=1)
    story.rejected("no place for it")
    story.ops[-1].begin = story.ops[-2].begin
    story.accepted()


# ----------------------------------------------------------------- against a search that knows no seqs

def random_story(dice):
    """A right history: a few clients whose operations overlap, each of which happens within its interval."""
    story = Story(stock=dice.choice((1, 2)), waitlist_max=dice.choice((0, 1, 3)), max_per_buyer=1)
    happen(story, dice, count=dice.randint(3, 6))
    for op in story.ops:  # it happened at begin + 5: reach out to both sides
        at = op.begin + 5
        op.begin, op.end = at - dice.choice((1, 15, 40)), at + dice.choice((1, 15, 40))
    return story


def happen(story, dice, count):
    for _ in range(count):
        timeline = Timeline(story.terms)
        for event in story.events:
            timeline.apply(event)
        row, what = timeline.rows[-1], dice.random()
        if timeline.queue and row.available and dice.random() < 0.8:
            story.move(timeline.queue[0], "order.promoted")
        live = [order for order in timeline.facts if timeline.state(order) in ("waiting", "payment")]
        buyer = f"buyer {dice.randrange(4)}"
        if what < 0.5:
            order, state = timeline.live(buyer)
            wait = row.waiting > 0 or row.available == 0
            if order:
                story.refused("buy", "already-joined", state, buyer=buyer, quantity=1)
            elif row.sold == story.terms.stock:
                story.refused("buy", "sold-out", buyer=buyer, quantity=1)
            elif wait and row.waiting >= story.terms.waitlist_max:
                story.refused("buy", "waitlist-full", buyer=buyer, quantity=1)
            elif not (timeline.queue and row.available):  # else the model's state is not the story's any more
                (story.wait if wait else story.buy)(buyer)
        elif what < 0.75 and live:
            story.cancel(dice.choice(live)) if not (timeline.queue and row.available) else story.get()
        elif what < 0.85 and [order for order in live if timeline.state(order) == "payment"]:
            story.pay(dice.choice([order for order in live if timeline.state(order) == "payment"]))
        else:
            story.get()
    while True:
        timeline = Timeline(story.terms)
        for event in story.events:
            timeline.apply(event)
        if not (timeline.queue and timeline.rows[-1].available):
            return
        story.move(timeline.queue[0], "order.promoted")


def spoil(story, dice):
    """Changes one thing; the history may still be right."""
    op = dice.choice(story.ops)
    what = dice.randrange(5)
    if what == 0:
        op.begin, op.end = op.begin + 60, op.end + 60
    elif what == 1 and op.kind == "get":
        other = dice.choice([op for op in story.ops if op.kind == "get"])
        op.told, op.seq = other.told, other.seq
    elif what == 2 and op.status == 400:
        op.told = dict(op.told, code=dice.choice(("sold-out", "waitlist-full", "already-joined")), state="payment")
    elif what == 3:
        op.begin, op.end = op.begin - 60, op.end - 60
    elif len(story.events) > 2:
        n = dice.randrange(2, len(story.events))
        story.events[n - 1:n + 1] = [event._replace(seq=seq) for event, seq in
                                     zip(reversed(story.events[n - 1:n + 1]), (n, n + 1))]


def explained(story):
    """Tries every order of all operations and of what the server did by itself (Wing and Gong)."""
    asked = {op.seq for op in story.ops if op.status != 400 and op.kind != "get"}
    inner = [event for event in story.events if event.seq not in asked]
    by_seq = {event.seq: event for event in story.events}

    def search(timeline, ops, inner):
        if not ops and not inner:
            row, queue = timeline.rows[-1], timeline.queue
            return not (queue and row.available >= timeline.facts[queue[0]][1])
        if inner:
            after = copy.deepcopy(timeline)
            if steps(after, inner[0]) and search(after, ops, inner[1:]):
                return True
        first_end = min((op.end for op in ops), default=0)
        for op in ops:
            if op.begin > first_end:
                continue
            rest = [other for other in ops if other is not op]
            if op.status == 400 or op.kind == "get":
                # The moment that a GET names is a seq: here only what it shows counts.
                if timeline.fits(op, len(timeline.rows) - 1) and search(timeline, rest, inner):
                    return True
                continue
            event, after = by_seq[op.seq], copy.deepcopy(timeline)
            if (event.kind, event.order) != (ANSWERS[op.kind, op.told.get("state")], op.order or op.told["order"]):
                return False
            right_to_wait = event.kind != "order.queued" or timeline.may_wait(op.quantity, len(timeline.rows) - 1)
            if right_to_wait and steps(after, event) and search(after, rest, inner):
                return True
        return False

    return search(Timeline(story.terms), story.ops, inner)


def steps(timeline, event):
    try:
        timeline.apply(event)
        return True
    except Wrong:
        return False


def test_what_is_accepted_can_be_explained_by_an_exhaustive_search():
    verdicts, seed = {}, 20261121
    for n in range(4000):
        dice = random.Random(seed + n)
        story = random_story(dice)
        if not story.ops:
            continue
        story.accepted()
        spoil(story, dice)
        try:
            accepted = check(story.terms, story.ops, story.events) != OVERLOOKED
        except Wrong:
            accepted = False
        right = explained(story)
        verdicts[accepted, right] = verdicts.get((accepted, right), 0) + 1
        assert right or not accepted, f"seed {seed + n}: accepted, and no order explains it: {story.ops} {story.events}"
    assert verdicts[True, True] > 500 and verdicts[False, False] > 500, verdicts
    return verdicts


def run():
    passed, failed = 0, 0
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        try:
            told = test()
            passed += 1
            print(f"ok   {name[5:].replace('_', ' ')}{f' {told}' if told else ''}")
        except Exception:
            failed += 1
            print(f"FAIL {name[5:].replace('_', ' ')}\n" + traceback.format_exc())
    print(f"linear: {passed} of {passed + failed} tests of the checker")
    return passed, failed
