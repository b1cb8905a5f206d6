/*
 * test_keys.c: the table of idempotency keys: one of many begins a key, everybody else is told what has become
 * of it; room is given back; refusals with a key wait for the commit that keeps them.
 *
 * The race at the end is made for ThreadSanitizer. What it hardly ever meets, two threads that claim different
 * slots for one key, the simulation meets (sim --fault key-twice).
 *
 * Threads: one; the race has RACERS more.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/random.h"
#include "tests/unit/plays.h"

static const struct now noon = {.mono_ms = 1000, .wall_ms = 1700000000000};

static uint64_t tag_of(uint64_t n)
{
    return key_tag(model_hash(&n, sizeof n));
}

static struct now after_ms(int64_t ms)
{
    return (struct now){noon.mono_ms + ms, noon.wall_ms + ms};
}

static enum key_verdict begin(struct keys *keys, uint64_t n, uint64_t body, uint32_t *number)
{
    struct kept kept;
    return keys_begin(keys, tag_of(n), body, noon, &kept, number);
}

static void settle(struct keys *keys, uint32_t number, uint64_t seq, int64_t value)
{
    keys_note(keys, number, COMMAND_BUY, OUTCOME_CREATED, ORDER_PAYMENT);
    keys_complete(keys, number, seq, value);
    keys_settle(keys, number);
}

static void a_key_is_fresh_once_then_in_flight_then_settled(void **state)
{
    (void)state;
    struct keys keys;
    struct kept kept;
    uint32_t number = 0, other = 0;
    assert_true(keys_init(&keys, 1000));
    assert_int_equal(begin(&keys, 1, 7, &number), KEY_FRESH);
    assert_int_not_equal(number, 0);
    assert_int_equal(begin(&keys, 1, 7, &other), KEY_IN_FLIGHT);
    assert_int_equal(begin(&keys, 1, 8, &other), KEY_OTHER_BODY);
    assert_int_equal(begin(&keys, 2, 7, &other), KEY_FRESH);
    assert_int_not_equal(number, other);
    assert_false(keys_is_settled(&keys, number));
    settle(&keys, number, 42, 4242);
    assert_true(keys_is_settled(&keys, number));
    assert_int_equal(keys_begin(&keys, tag_of(1), 7, noon, &kept, &other), KEY_SETTLED);
    assert_int_equal(kept.tag, tag_of(1));
    assert_int_equal(kept.seq, 42);
    assert_int_equal(kept.value, 4242);
    assert_int_equal(kept.kind, COMMAND_BUY);
    assert_int_equal(kept.outcome, OUTCOME_CREATED);
    assert_int_equal(kept.state, ORDER_PAYMENT);
    assert_int_equal(begin(&keys, 1, 8, &other), KEY_OTHER_BODY);
    keys_free(&keys);
}

static void a_forgotten_key_is_fresh_again_also_with_another_body(void **state)
{
    (void)state;
    struct keys keys;
    uint32_t number;
    assert_true(keys_init(&keys, 1000));
    for (uint64_t body = 0; body < 1000; body++) {
        assert_int_equal(begin(&keys, 1, body, &number), KEY_FRESH);
        keys_forget(&keys, number);
    }
    keys_free(&keys);
}

static void a_full_bucket_has_no_room_and_still_knows_its_keys(void **state)
{
    (void)state;
    struct keys keys;
    uint32_t numbers[KEY_SLOTS], other;
    assert_true(keys_init(&keys, 0));
    for (uint32_t n = 0; n < KEY_SLOTS; n++)
        assert_int_equal(begin(&keys, n, n, &numbers[n]), KEY_FRESH);
    assert_int_equal(begin(&keys, KEY_SLOTS, 0, &other), KEY_NO_ROOM);
    for (uint32_t n = 0; n < KEY_SLOTS; n++)
        assert_int_equal(begin(&keys, n, n, &other), KEY_IN_FLIGHT);
    keys_forget(&keys, numbers[KEY_SLOTS / 2]);
    assert_int_equal(begin(&keys, KEY_SLOTS, 0, &other), KEY_FRESH);
    assert_int_equal(other, numbers[KEY_SLOTS / 2]);
    keys_free(&keys);
}

static void settled_keys_make_room_when_they_are_old_and_those_in_flight_never(void **state)
{
    (void)state;
    struct keys keys;
    struct kept kept;
    uint32_t number;
    assert_true(keys_init(&keys, 0));
    for (uint32_t n = 0; n < KEY_SLOTS; n++) {
        assert_int_equal(begin(&keys, n, n, &number), KEY_FRESH);
        if (n == 5)
            settle(&keys, number, n, 0);
    }
    struct now late = after_ms(KEY_KEEP_MS), later = after_ms(KEY_KEEP_MS + 1);
    assert_int_equal(keys_begin(&keys, tag_of(99), 0, late, &kept, &number), KEY_NO_ROOM);
    assert_int_equal(keys_begin(&keys, tag_of(5), 5, later, &kept, &number), KEY_SETTLED);
    assert_int_equal(keys_begin(&keys, tag_of(99), 0, later, &kept, &number), KEY_FRESH);
    assert_int_equal(keys_begin(&keys, tag_of(5), 5, later, &kept, &number), KEY_NO_ROOM);
    assert_int_equal(keys_begin(&keys, tag_of(98), 0, later, &kept, &number), KEY_NO_ROOM);
    keys_free(&keys);
}

static void the_stated_number_of_keys_fits(void **state)
{
    (void)state;
    enum { CAPACITY = 100000 };
    struct keys keys;
    uint32_t number, refused = 0;
    assert_true(keys_init(&keys, CAPACITY));
    for (uint64_t n = 0; n < CAPACITY; n++)
        refused += begin(&keys, n, n, &number) != KEY_FRESH;
    assert_int_equal(refused, 0);
    assert_true(sizeof(struct key_bucket) * keys.bucket_count <=
                (CAPACITY + KEY_WORDS) * (size_t)KEY_BYTES_PER_KEY);
    keys_free(&keys);
}

static void recovery_keeps_a_key_for_the_rest_of_its_time(void **state)
{
    (void)state;
    struct keys keys;
    struct kept told;
    uint32_t number;
    const struct kept kept = {
        .tag = tag_of(1), .body = 7, .seq = 9, .value = -5, .kind = COMMAND_PAY};
    assert_true(keys_init(&keys, 0));
    assert_true(keys_restore(&keys, &kept, noon, KEY_KEEP_MS - 10));
    assert_int_equal(keys_begin(&keys, tag_of(1), 7, noon, &told, &number), KEY_SETTLED);
    assert_int_equal(told.seq, 9);
    assert_int_equal(told.value, -5);
    assert_int_equal(told.kind, COMMAND_PAY);
    for (uint64_t n = 2; n <= KEY_SLOTS; n++)
        assert_int_equal(begin(&keys, n, n, &number), KEY_FRESH);
    assert_int_equal(keys_begin(&keys, tag_of(99), 0, after_ms(10), &told, &number), KEY_NO_ROOM);
    assert_int_equal(keys_begin(&keys, tag_of(99), 0, after_ms(11), &told, &number), KEY_FRESH);
    const struct kept old = {.tag = tag_of(100)}, more = {.tag = tag_of(101)};
    assert_true(keys_restore(&keys, &old, noon, KEY_KEEP_MS + 1)); /* nobody wants it */
    assert_false(keys_restore(&keys, &more, noon, -1));            /* no room */
    keys_free(&keys);
}

/* ---- with workers and journal ---- */

static uint32_t key_for(struct rig *rig, uint64_t n)
{
    struct kept kept;
    uint32_t number = 0;
    assert_int_equal(keys_begin(&rig->engine.keys, tag_of(n), n, rig->now, &kept, &number),
                     KEY_FRESH);
    return number;
}

static struct command keyed_buy(struct rig *rig, const char *name, uint32_t quantity, uint64_t n)
{
    struct command command = rig_buy(rig, name, quantity);
    command.key = key_for(rig, n);
    return command;
}

static void open_shop(struct rig *rig)
{
    rig_open(rig, 1);
    rig->model.now = &rig->now;
    assert_null(rig_play(rig, "sale 5 units 1 each 9 wait 250 ms\n"));
}

static void a_refusal_with_a_key_is_kept_before_it_is_sent(void **state)
{
    (void)state;
    static struct rig rig;
    struct reply reply;
    open_shop(&rig);
    assert_true(rig_send(&rig, keyed_buy(&rig, "ann", 2, 1)));
    (void)worker_round(&rig.engine.workers[0], rig.now);
    assert_false(rig_receive(&rig, &reply));
    assert_int_equal(rig.model.key_count, 0);
    assert_int_equal(journal_round(&rig.engine.journal), JOURNAL_WROTE);
    assert_true(rig_receive(&rig, &reply));
    assert_int_equal(reply.outcome, OUTCOME_QUANTITY_OVER_LIMIT);
    assert_int_equal(rig.model.key_count, 1);
    assert_int_equal(journal_round(&rig.engine.journal), JOURNAL_IDLE);
    rig_close(&rig);
}

static void nobody_without_a_key_waits_behind_a_refusal_with_one(void **state)
{
    (void)state;
    static struct rig rig;
    struct reply reply;
    open_shop(&rig);
    assert_true(rig_send(&rig, keyed_buy(&rig, "ann", 2, 1)));
    assert_true(rig_send(&rig, rig_buy(&rig, "ben", 2)));
    (void)worker_round(&rig.engine.workers[0], rig.now);
    assert_true(rig_receive(&rig, &reply));
    assert_int_equal(reply.key, 0);
    assert_false(rig_receive(&rig, &reply));
    assert_int_equal(journal_round(&rig.engine.journal), JOURNAL_WROTE);
    assert_true(rig_receive(&rig, &reply));
    assert_int_not_equal(reply.key, 0);
    rig_close(&rig);
}

static void a_refusal_is_not_kept_before_what_it_saw(void **state)
{
    (void)state;
    static struct rig rig;
    struct reply reply;
    open_shop(&rig);
    struct log_credit credit = {0};
    assert_true(log_reserve(&rig.engine.log, &credit, 1));
    uint64_t gap = log_claim(&rig.engine.log, &credit, 1);
    assert_true(rig_send(&rig, keyed_buy(&rig, "ann", 2, 1)));
    (void)worker_round(&rig.engine.workers[0], rig.now);
    assert_int_equal(journal_round(&rig.engine.journal), JOURNAL_IDLE);
    assert_int_equal(journal_round(&rig.engine.journal), JOURNAL_IDLE);
    assert_int_equal(rig.model.key_count, 0);
    assert_false(rig_receive(&rig, &reply));
    struct event paused = {.sale = rig.sale, .kind = EVENT_SALE_PAUSED};
    log_publish(&rig.engine.log, gap, &paused);
    assert_int_equal(journal_round(&rig.engine.journal), JOURNAL_WROTE);
    assert_int_equal(rig.model.key_count, 1);
    assert_true(rig_receive(&rig, &reply));
    assert_int_equal(reply.seq, gap);
    rig_close(&rig);
}

static void an_event_and_its_keys_answer_commit_together_or_not_at_all(void **state)
{
    (void)state;
    static struct rig rig;
    struct kept kept;
    uint32_t number;
    open_shop(&rig);
    rig.model.commit_fails_in = 1;
    assert_true(rig_send(&rig, keyed_buy(&rig, "ann", 1, 1)));
    (void)worker_round(&rig.engine.workers[0], rig.now);
    assert_int_equal(journal_round(&rig.engine.journal), JOURNAL_FAILED);
    assert_null(rig_restart(&rig, 5));
    assert_int_equal(rig.model.key_count, 0);
    struct command again = keyed_buy(&rig, "ann", 1, 1);
    struct reply reply = rig_ask(&rig, again);
    assert_int_equal(reply.outcome, OUTCOME_CREATED);
    assert_null(rig_restart(&rig, 5));
    assert_int_equal(keys_begin(&rig.engine.keys, tag_of(1), 1, rig.now, &kept, &number),
                     KEY_SETTLED);
    assert_int_equal(kept.seq, reply.seq);
    assert_int_equal(kept.state, ORDER_PAYMENT);
    assert_int_equal(kept.value, rig.now.wall_ms - 5 + 250);
    rig_close(&rig);
}

static void what_may_be_asked_again_is_not_kept(void **state)
{
    (void)state;
    static struct rig rig;
    open_shop(&rig);
    assert_null(rig_play(&rig, "storage full\n"));
    struct reply reply = rig_ask(&rig, keyed_buy(&rig, "ann", 1, 1));
    assert_int_equal(reply.outcome, OUTCOME_STORAGE_FULL);
    assert_int_equal(reply.key, 0);
    assert_null(rig_play(&rig, "storage free\n"));
    reply = rig_ask(&rig, keyed_buy(&rig, "ann", 1, 1));
    assert_int_equal(reply.outcome, OUTCOME_CREATED);
    assert_int_equal(rig.model.key_count, 1);
    rig_close(&rig);
}

static void without_keys_nothing_is_kept(void **state)
{
    (void)state;
    static struct rig rig;
    open_shop(&rig);
    assert_null(
        rig_play(&rig, "buy ann 1 -> created\nbuy ann 1 -> already-joined\npay ann -> done\n"));
    assert_int_equal(rig.model.key_count, 0);
    for (uint32_t b = 0; b < rig.engine.keys.bucket_count; b++)
        assert_int_equal(rig.engine.keys.buckets[b].version, 0);
    rig_close(&rig);
}

/* ---- a race ---- */

enum { RACERS = 4, RACE_KEYS = 90, RACE_TURNS = 60000 };

/* All want the same few keys of one bucket, which is full and whose slots become free all the time. */
static struct {
    struct keys keys;
    _Atomic uint32_t holders[RACE_KEYS]; /* how many think that the key is theirs */
    _Atomic uint32_t wrong, fresh, in_flight, no_room, settled;
} race;

static void hold(uint64_t n, uint32_t number, bool settles)
{
    if (atomic_fetch_add(&race.holders[n], 1) != 0)
        atomic_fetch_add(&race.wrong, 1);
    if (atomic_fetch_add(&race.fresh, 1) % 8 == 0)
        (void)sched_yield(); /* so that others meet it in flight */
    atomic_fetch_sub(&race.holders[n], 1);
    if (settles)
        settle(&race.keys, number, n, (int64_t)n);
    else
        keys_forget(&race.keys, number);
}

static void *racer(void *arg)
{
    struct random random = random_from((uint64_t)(uintptr_t)arg);
    struct now now = noon;
    for (int i = 0; i < RACE_TURNS; i++) {
        uint64_t n = random_below(&random, random_chance(&random, 1, 2) ? 3 : RACE_KEYS);
        struct kept kept;
        uint32_t number;
        now.mono_ms += i % 64 == 0 ? KEY_KEEP_MS + 1 : 0; /* so that settled ones are reused */
        switch (keys_begin(&race.keys, tag_of(n), n, now, &kept, &number)) {
        case KEY_FRESH:
            hold(n, number, n > 2 && random_chance(&random, 1, 4));
            break;
        case KEY_SETTLED:
            atomic_fetch_add(&race.wrong, kept.seq != n || kept.value != (int64_t)n);
            atomic_fetch_add(&race.settled, 1);
            break;
        case KEY_IN_FLIGHT:
            atomic_fetch_add(&race.in_flight, 1);
            break;
        case KEY_NO_ROOM:
            atomic_fetch_add(&race.no_room, 1);
            break;
        case KEY_OTHER_BODY:
        default:
            atomic_fetch_add(&race.wrong, 1);
        }
    }
    return NULL;
}

static void of_many_threads_one_begins_a_key(void **state)
{
    (void)state;
    pthread_t threads[RACERS];
    assert_true(keys_init(&race.keys, 0));
    for (uintptr_t i = 0; i < RACERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, racer, (void *)(i + 1)), 0);
    for (int i = 0; i < RACERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    printf("race: fresh %u, in flight %u, settled %u, no room %u\n", race.fresh, race.in_flight,
           race.settled, race.no_room);
    assert_int_equal(race.wrong, 0);
    assert_true(race.fresh > 1000 && race.in_flight > 0 && race.settled > 1000);
    keys_free(&race.keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_fresh_once_then_in_flight_then_settled),
        cmocka_unit_test(a_forgotten_key_is_fresh_again_also_with_another_body),
        cmocka_unit_test(a_full_bucket_has_no_room_and_still_knows_its_keys),
        cmocka_unit_test(settled_keys_make_room_when_they_are_old_and_those_in_flight_never),
        cmocka_unit_test(the_stated_number_of_keys_fits),
        cmocka_unit_test(recovery_keeps_a_key_for_the_rest_of_its_time),
        cmocka_unit_test(a_refusal_with_a_key_is_kept_before_it_is_sent),
        cmocka_unit_test(nobody_without_a_key_waits_behind_a_refusal_with_one),
        cmocka_unit_test(a_refusal_is_not_kept_before_what_it_saw),
        cmocka_unit_test(an_event_and_its_keys_answer_commit_together_or_not_at_all),
        cmocka_unit_test(what_may_be_asked_again_is_not_kept),
        cmocka_unit_test(without_keys_nothing_is_kept),
        cmocka_unit_test(of_many_threads_one_begins_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
