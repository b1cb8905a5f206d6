"""
checker.py: is a recorded history of one sale linearizable?

A history: the sale's terms; the clients' requests and their answers, with the moments at which each began and ended
by one monotonic clock; and the sale's domain events, including what flashd did by itself (promotions, expiries,
clearing). Their seqs are a hint at the order, so that hardly anything has to be searched.
check() raises Wrong unless there is an order of everything in which

  - each event is a legal step of a sequential model of one sale, from the state that those before it left
  - the answers are true: an answered write is exactly one event, and each event that a client caused was
    answered; a read or a refusal is true after some event k
  - real time is respected: an operation that ended before another began comes before it

attempt() decides that for one order of the events, exactly: reads and refusals get places in the order in which
they began, each the first that is true and not before anything that ended earlier. Taking the first never hurts
the later ones, so when one finds no place there is none.

The order of seq must itself be legal, and is tried first (IN_ORDER). It need not be the answer: a thread that gives
units or a place back claims the seq before it gives them (engine/stock.h), so a purchase that is decided in between
has a higher seq than the gift, but has not seen it. Search then looks for an order in which the gifts that overlap a
purchase that found no room come later, or the takes earlier (REORDERED).

There may be none if somebody reads at just that moment: a GET that shows the gift, but not yet the purchase that
overlooked it. No sequential sale would show that. Such a history is counted apart (OVERLOOKED). It is allowed only
for purchases that found no room, and only for what overlaps them: at worst they met every take and no gift.
"""
import bisect
import collections
import itertools

FOREVER = 1 << 62
# ACTIVE and so on; units; orders in the waiting list; how many have paid
Row = collections.namedtuple("Row", "phase available held sold waiting paid")
Event = collections.namedtuple("Event", "seq kind order buyer quantity")
Terms = collections.namedtuple("Terms", "stock max_per_buyer waitlist_max hold_ns")


class Op:
    """kind: buy pay cancel get look eligible buyers pause resume end. told: members of the answer; seq: its seq."""

    __slots__ = ("kind", "begin", "end", "order", "buyer", "quantity", "status", "told", "seq", "k")

    def __init__(self, kind, begin, end, status, told, seq=None, order=None, buyer=None, quantity=None):
        self.kind, self.begin, self.end, self.status, self.told, self.seq = kind, begin, end, status, told, seq
        self.order, self.buyer, self.quantity, self.k = order, buyer, quantity, None

    def __repr__(self):
        about = {"order": self.order, "buyer": self.buyer, "quantity": self.quantity}
        about = {key: value for key, value in about.items() if value is not None}
        return f"<{self.kind} {about} [{self.begin}, {self.end}] -> {self.status} {self.told} {self.seq}>"


class Wrong(Exception):
    pass


class Misplaced(Wrong):
    """This operation has no place in this order."""

    def __init__(self, op, why):
        super().__init__(f"{why}: {op}")
        self.op = op


PHASES = {"sale.started": ("UPCOMING", "ACTIVE"), "sale.paused": ("ACTIVE", "PAUSED"),
          "sale.resumed": ("PAUSED", "ACTIVE")}
# kind of an order's event: (states it may come from, state after it)
MOVES = {"order.reserved": ((None,), "payment"), "order.queued": ((None,), "waiting"),
         "order.promoted": (("waiting",), "payment"), "order.paid": (("payment", "expired"), "paid"),
         "order.expired": (("payment",), "expired"), "order.cancelled": (("payment", "waiting"), "cancelled"),
         "order.cleared": (("waiting",), "cleared"), "order.refund_due": (("expired",), "expired")}
LIVE = ("waiting", "payment", "paid")


class Timeline:
    """The model: every state that the sale has been in. Index k: after k events."""

    def __init__(self, terms):
        self.terms = terms
        self.rows = [Row("UPCOMING", terms.stock, 0, 0, 0, 0)]
        self.seqs, self.events = [None], []
        self.queue = []    # orders that wait now, the longest waiting first
        self.tickets = []  # orders that ever waited, in order
        self.ticket = {}   # order -> its place among them
        self.left = {}     # order -> k at which it left the waiting list
        self.states = {}   # order -> ([k], [state])
        self.facts = {}    # order -> (buyer, quantity)
        self.lives = {}    # buyer -> ([k], [order that is live, or None])
        self.paid = []     # buyers, in order of payment

    def state(self, order, k=FOREVER):
        ks, states = self.states.get(order, ((), ()))
        at = bisect.bisect_right(ks, k) - 1
        return states[at] if at >= 0 else None

    def last_seq(self, order, k):
        ks = self.states[order][0]
        return self.seqs[ks[bisect.bisect_right(ks, k) - 1]]

    def live(self, buyer, k=FOREVER):
        """The buyer's live order and its state, or (None, None)."""
        ks, orders = self.lives.get(buyer, ((), ()))
        at = bisect.bisect_right(ks, k) - 1
        order = orders[at] if at >= 0 else None
        return order, self.state(order, k) if order else None

    def position(self, order, k):
        ahead = self.tickets[:self.ticket[order]]
        return 1 + sum(self.left.get(other, FOREVER) > k for other in ahead)

    # --- steps

    def apply(self, event):
        """Takes a legal step, or raises Wrong. Returns its k."""
        row, kind = self.rows[-1], event.kind
        if kind in MOVES:
            row = self._order_step(event, row)
        elif kind in PHASES:
            before, after = PHASES[kind]
            self._demand(row.phase == before, event, f"the sale was {row.phase}")
            row = row._replace(phase=after)
        elif kind == "sale.ended":
            self._demand(row.phase != "ENDED", event, "it had ended")
            row = row._replace(phase="ENDED")
        elif kind == "sale.sold_out":
            self._demand(row.sold == self.terms.stock, event, f"only {row.sold} are sold")
        else:
            self._demand(kind == "sale.created" and len(self.rows) == 1, event, "no such step")
        self.rows.append(row)
        self.seqs.append(event.seq)
        self.events.append(event)
        return len(self.rows) - 1

    @staticmethod
    def _demand(condition, event, why):
        if not condition:
            raise Wrong(f"illegal step {event}: {why}")

    def _order_step(self, event, row):
        order, kind, units = event.order, event.kind, event.quantity
        before, (allowed, after) = self.state(order), MOVES[kind]
        self._demand(before in allowed, event, f"the order was {before}")
        if before is None:
            self.facts[order] = (event.buyer, units)
            self._demand(row.phase == "ACTIVE", event, f"the sale was {row.phase}")
            self._demand(units <= self.terms.max_per_buyer, event, "more than a buyer may have")
        self._demand(self.facts[order] == (event.buyer, units), event, f"it was {self.facts[order]}")
        live = self.live(event.buyer)[0]
        self._demand(after not in LIVE or live in (None, order), event, f"the buyer has {live}")
        self._rules(event, row, before, after)
        row = self._move_units(event, row, before, after)
        k = len(self.rows)
        self._note(self.states, order, k, after)
        if after in LIVE or live == order:
            self._note(self.lives, event.buyer, k, order if after in LIVE else None)
        return row

    def _rules(self, event, row, before, after):
        """What is asked of this kind of step besides."""
        units = event.quantity
        takes = after in ("payment", "paid") and before != "payment"
        self._demand(not takes or row.available >= units, event, f"only {row.available} are free")
        self._demand(not takes or before == "waiting" or row.waiting == 0, event, f"{row.waiting} wait")
        if event.kind == "order.queued":
            self._demand(row.waiting < self.terms.waitlist_max, event, "the waiting list was full")
        if event.kind == "order.promoted":
            self._demand(row.phase == "ACTIVE", event, f"the sale was {row.phase}")
            self._demand(self.queue[0] == event.order, event, f"{self.queue[0]} has waited longer")
        if event.kind == "order.cleared":
            hopeless = units > self.terms.stock - row.sold
            self._demand(row.phase == "ENDED" or hopeless, event, "it might still have been served")

    def _move_units(self, event, row, before, after):
        place = {"payment": "held", "paid": "sold"}
        units, moved = event.quantity, row._asdict()
        moved[place.get(before, "available")] -= units
        moved[place.get(after, "available")] += units
        if before == "waiting" and after != "waiting":
            self.queue.remove(event.order)
            self.left[event.order] = len(self.rows)
        if after == "waiting" and before != "waiting":
            self.queue.append(event.order)
            self.ticket[event.order] = len(self.tickets)
            self.tickets.append(event.order)
        if after == "paid":
            self.paid.append(event.buyer)
        moved.update(waiting=len(self.queue), paid=len(self.paid))
        return Row(**moved)

    @staticmethod
    def _note(where, key, k, value):
        ks, values = where.setdefault(key, ([], []))
        ks.append(k)
        values.append(value)

    # --- truths

    def may_wait(self, units, k):
        """Whether a purchase after k has to join the waiting list."""
        row = self.rows[k]
        return (row.phase == "ACTIVE" and row.sold < self.terms.stock
                and (row.waiting > 0 or row.available < units))

    def fits(self, op, k):
        """Whether a read or a refusal is true after k."""
        row, told = self.rows[k], op.told
        if op.status == 400:
            return self._refusal_fits(op, row, k)
        if op.kind in ("get", "pause", "resume", "end"):
            return all(getattr(row, name) == value for name, value in told.items())
        if op.kind == "look":
            state = self.state(op.order, k)
            return told["state"] == state and self.last_seq(op.order, k) == op.seq and (
                state != "waiting" or told["position"] == self.position(op.order, k))
        if op.kind == "eligible":
            return self.live(op.buyer, k)[0] is None
        return told["buyers"] == self.paid[:row.paid]

    def _refusal_fits(self, op, row, k):
        code, terms = op.told["code"], self.terms
        if code == "already-joined":
            return self.live(op.buyer, k)[1] == op.told["state"]
        if code == "sale-not-active":
            return row.phase != "ACTIVE"
        if code == "sold-out":
            return op.quantity > terms.stock - row.sold
        if code == "waitlist-full":
            return row.waiting >= terms.waitlist_max and self.may_wait(op.quantity, k)
        if code == "quantity-over-limit":
            return op.quantity > min(terms.max_per_buyer, terms.stock)
        state = self.state(op.order, k)
        if code == "hold-expired":
            return state == "expired"
        dead_ends = {"not-in-payment": ("waiting", "paid", "cancelled", "cleared"),
                     "not-cancellable": ("paid", "expired", "cancelled", "cleared")}
        return state in dead_ends.get(code, ()) and op.told["state"] == state


# ------------------------------------------------------------------------------------------- checking

ANSWERS = {("buy", "payment"): "order.reserved", ("buy", "waiting"): "order.queued", ("pay", None): "order.paid",
           ("cancel", None): "order.cancelled"}
STEERS = {"pause": "sale.paused", "resume": "sale.resumed", "end": "sale.ended"}


def own_events(ops, events, index):
    """{id(op): k} of all writes: each event that clients cause belongs to one answer, and the other way round."""
    owned, steered = {}, {kind: [k for k, event in enumerate(events, 1) if event.kind == kind]
                          for kind in STEERS.values()}
    for op in ops:
        if op.status == 400 or op.kind not in ("buy", "pay", "cancel", *STEERS):
            continue
        if op.kind in STEERS:
            k = steered[STEERS[op.kind]].pop(0) if steered[STEERS[op.kind]] else None
        else:
            k = index.get(op.seq)
            event = events[k - 1] if k else None
            if not event or event.kind != ANSWERS[op.kind, op.told.get("state")] or event.order != (
                    op.order or op.told.get("order")):
                raise Wrong(f"answered, and not what the log has there: {op}, {event}")
            if op.kind == "buy" and (event.buyer, event.quantity) != (op.buyer, op.quantity):
                raise Wrong(f"another purchase than the log's: {op}, {event}")
        if k is None:
            raise Wrong(f"answered, and not in the log: {op}")
        if k in owned:
            raise Wrong(f"two answers for one event: {op}, {owned[k]}")
        owned[k] = op
    due = {op.order for op in ops if op.kind == "pay" and op.status == 400 and op.told["code"] == "hold-expired"}
    refunds = set()
    for k, event in enumerate(events, 1):
        if (event.kind in ANSWERS.values() or event.kind in STEERS.values()) and k not in owned:
            raise Wrong(f"in the log, and nobody was told: {event}")
        if event.kind == "order.refund_due" and event.order not in due:
            raise Wrong(f"a refund that nobody asked for: {event}")
        refunds |= {event.order} if event.kind == "order.refund_due" else set()
        if event.kind == "order.paid" and event.order in refunds:
            raise Wrong(f"paid, and due a refund: {event}")
    return owned


class Before:
    """The largest place of all operations that had ended before a moment; moments may only grow."""

    def __init__(self, ops):
        self.by_end, self.next, self.place = sorted(ops, key=lambda op: op.end), 0, 0

    def at(self, moment):
        while self.next < len(self.by_end) and self.by_end[self.next].end < moment:
            self.place = max(self.place, self.by_end[self.next].k)
            self.next += 1
        return self.place


def latest_places(owned):
    """A function: the last place that an operation may have that ended at a moment."""
    writes = sorted((op.begin, k) for k, op in owned.items())
    begins, least = [begin for begin, _ in writes], FOREVER
    leasts = []
    for _, k in reversed(writes):
        least = min(least, k)
        leasts.append(least)
    leasts.reverse()

    def latest(end, last):
        at = bisect.bisect_right(begins, end)
        return min(leasts[at] - 1, last) if at < len(leasts) else last
    return latest


def places_as_of(events):
    """{seq: k}: where exactly the events up to that seq have happened; in the order of seq that is everywhere."""
    found, greatest, sorted_seqs = {}, 0, sorted(event.seq for event in events)
    for k, event in enumerate(events, 1):
        greatest = max(greatest, event.seq)
        if sorted_seqs[k - 1] == greatest:
            found[greatest] = k
    return found


def overlooked(timeline, op, earliest, latest):
    """Whether there was no room for it if it met every take that it overlaps, and no gift."""
    base = timeline.rows[earliest]
    joined = [event.seq for event in timeline.events[earliest:latest] if event.kind == "order.queued"]
    taken = sum(event.quantity for event in timeline.events[earliest:latest] if event.kind == "order.reserved")
    waiting = base.waiting + len(joined) - (op.seq in joined)
    full = op.status != 400 or waiting >= timeline.terms.waitlist_max
    return full and (waiting > 0 or base.available - taken < op.quantity)


def place_write(timeline, op, k, event, earliest, latest, lenient):
    if not earliest < k <= latest:
        raise Misplaced(op, f"is event {k}, has to be after {earliest} and up to {latest}")
    if event.kind == "order.queued":
        if not timeline.may_wait(op.quantity, k - 1) and not (
                lenient and overlooked(timeline, op, earliest, latest)):
            raise Misplaced(op, f"had to wait though units were free, after {timeline.rows[k - 1]}")
        # The place is told as of the commit.
        if not any(timeline.position(op.order or op.told["order"], j) == op.told["position"]
                   for j in range(k, min(latest, len(timeline.rows) - 1) + 1)):
            raise Misplaced(op, "never had this place in the waiting list")
    return k


def place_read(timeline, op, as_of, earliest, latest, lenient):
    if op.kind in ("get", *STEERS) and op.status != 400:  # it says as of when
        places = [as_of.get(op.seq, -1)]
    else:
        places = range(earliest, latest + 1)
    if lenient and found_no_room(op) and overlooked(timeline, op, earliest, latest):
        return earliest
    for k in places:
        if earliest <= k <= latest and timeline.fits(op, k):
            return k
    raise Misplaced(op, f"no place for it from {earliest} {timeline.rows[earliest]}"
                        f" to {latest} {timeline.rows[latest]}")


def nobody_expires_early(terms, ops, events, owned):
    reserved = {event.order: owned[k].begin for k, event in enumerate(events, 1) if event.kind == "order.reserved"}
    expiries = sorted((reserved[event.order] + terms.hold_ns - 2000000, k) for k, event in enumerate(events, 1)
                      if event.kind == "order.expired" and event.order in reserved)
    before = Before(ops)
    for moment, k in expiries:
        if before.at(moment) >= k:
            raise Wrong(f"expired too early: {events[k - 1]}")


def nobody_is_forgotten(timeline):
    row = timeline.rows[-1]
    if row.phase == "ACTIVE" and timeline.queue and row.available >= timeline.facts[timeline.queue[0]][1]:
        raise Wrong(f"{timeline.queue[0]} waits for ever: {row}")


def attempt(terms, ops, events, lenient=False):
    """Whether this order of the events will do; if not, raises Wrong."""
    timeline, index = Timeline(terms), {}
    for event in events:
        index[event.seq] = timeline.apply(event)
    owned = own_events(ops, events, index)
    as_of, place_of = places_as_of(events), {id(op): k for k, op in owned.items()}
    before, latest_at = Before(ops), latest_places(owned)
    for op in sorted(ops, key=lambda op: op.begin):
        earliest, latest = before.at(op.begin), latest_at(op.end, len(events))
        k = place_of.get(id(op))
        if k is not None:
            op.k = place_write(timeline, op, k, events[k - 1], earliest, latest, lenient)
            if op.kind in STEERS:
                op.k = place_read(timeline, op, as_of, k, latest, lenient)
        else:
            op.k = place_read(timeline, op, as_of, earliest, latest, lenient)
    nobody_expires_early(terms, ops, events, owned)
    nobody_is_forgotten(timeline)


GIFTS = ("order.cancelled", "order.expired", "order.cleared", "order.promoted", "sale.resumed", "sale.started")
ATTEMPTS_MAX = 4000  # a history; some milliseconds each
BRANCHES_MAX = 3
TAKES = ("order.reserved", "order.queued")
TAKE_STEPS_MAX = 8  # that a take is moved
GIFTS_MAX = 5  # that are moved at a time


def found_no_room(op):
    return op.kind == "buy" and (op.told.get("state") == "waiting" or op.told.get("code") == "waitlist-full")


def other_orders(ops, events, culprit):
    """Orders in which takes that overlap the culprit come earlier, or gifts later."""
    when = {op.seq: op for op in ops if op.status != 400 and op.kind in ("buy", "pay", "cancel")}
    near = [n for n, event in enumerate(events) if event.seq in when
            and when[event.seq].begin <= culprit.end and when[event.seq].end >= culprit.begin]
    if not near:
        return
    for n in near:
        if events[n].kind in TAKES:
            for to in range(n - 1, max(n - TAKE_STEPS_MAX, 2) - 1, -1):
                yield events[:to] + [events[n]] + events[to:n] + events[n + 1:]
    low, high = near[0], near[-1]
    gifts = [n for n in range(low, high) if events[n].kind in GIFTS and (events[n].seq not in when or n in near)]
    for count in range(1, min(len(gifts), GIFTS_MAX) + 1):
        for moved in itertools.combinations(gifts[-GIFTS_MAX:], count):
            for after in range(moved[-1] + 1, high + 1):
                window = [events[n] for n in range(low, after + 1) if n not in moved]
                yield events[:low] + window + [events[n] for n in moved] + events[after + 1:]


def culprits(ops, misplaced):
    """Who found no room: the misplaced one, or those that it has to come after."""
    if found_no_room(misplaced):
        return [misplaced]
    ended = [op for op in ops if op.end < misplaced.begin and op.k is not None]
    latest = max((op.k for op in ended), default=0)
    return [op for op in ended if op.k >= latest - GIFTS_MAX and found_no_room(op)][-GIFTS_MAX:]


class Search:
    """For an order that will do."""

    def __init__(self, terms, ops):
        self.terms, self.ops, self.left = terms, ops, ATTEMPTS_MAX

    def fault(self, order):
        """None if this order will do. Raises Wrong if it is none at all."""
        self.left -= 1
        try:
            attempt(self.terms, self.ops, order)
        except Misplaced as error:
            return error
        return None

    def repair(self, order, misplaced):
        """Whether there is one. Follows those in which the next fault comes latest, a few at a time."""
        further, tried = [], set()
        for culprit in culprits(self.ops, misplaced.op):
            for other in other_orders(self.ops, order, culprit):
                seqs = tuple(event.seq for event in other)
                if seqs in tried or self.left <= 0:
                    continue
                tried.add(seqs)
                try:
                    fault = self.fault(other)
                except Wrong:
                    continue
                if not fault:
                    return True
                if fault.op.begin > misplaced.op.begin:
                    further.append((-fault.op.begin, len(further), other, fault))
        further.sort(key=lambda found: found[:2])
        return any(self.repair(other, fault) for _, _, other, fault in further[:BRANCHES_MAX])


IN_ORDER, REORDERED, OVERLOOKED = "in order of seq", "in another order", "with gifts overlooked"


def check(terms, ops, events):
    """ops in any order; events in order of seq, settled: the last of them is what stayed. Says how it can be
    explained; raises Wrong if it cannot be."""
    search = Search(terms, ops)
    fault = search.fault(events)
    if not fault:
        return IN_ORDER
    if search.repair(events, fault):
        return REORDERED
    attempt(terms, ops, events, lenient=True)
    return OVERLOOKED
