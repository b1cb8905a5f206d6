/*
 * rest.c: what must hold whenever everybody sleeps, and how a seed ends (see sim.h).
 *
 * Whenever everybody sleeps, all that was claimed is committed, and nobody waits while the units he
 * wants are free. With no command in flight, memory equals the history: stock words, order states,
 * view (G1, G4). After a few more rests nothing is overdue: no hold outlives its time, no sale its
 * end, nobody waits for what will never be free. And every command is answered sooner or later.
 *
 * When the script is over, the time is moved past every hold, then past the end of every sale.
 *
 * Thread: the simulation's one. Fails: world_fail().
 */
#include "tests/sim/sim.h"

enum {
    RESTS_UNTIL_DONE = 4,       /* rests after which nothing may be left to do */
    RESTS_UNTIL_ANSWERED = 200, /* and after which a command must have its answer */
};

/* A decision may carry a time that was read a round ago. */
static int64_t slack_ms(void)
{
    return 3 * sim.scale.interval_ms + 100;
}

static void check_hold(const struct judge_order *o)
{
    if (o->state == ORDER_PAYMENT && sim.now.wall_ms > o->expires_at_ms + slack_ms())
        world_fail("the hold of order %llu outlives its time", (unsigned long long)o->seq);
}

static void check_due(const struct judge_sale *s)
{
    unsigned long long seq = s->seq;
    bool over = s->state == SALE_ENDED || s->sold_out;
    if (s->state == SALE_UPCOMING && sim.now.wall_ms > s->terms.starts_at_ms + slack_ms())
        world_fail("sale %llu does not start", seq);
    if (s->state != SALE_ENDED && sim.now.wall_ms > s->terms.ends_at_ms + slack_ms())
        world_fail("sale %llu does not end", seq);
    if (s->sold == s->terms.product_qty && !s->sold_out)
        world_fail("sale %llu is sold out and nobody says so", seq);
    const struct judge_order *head = judge_head(&sim.model.judge, s);
    if (head == NULL)
        return;
    if (over)
        world_fail("order %llu waits in a sale that is over", (unsigned long long)head->seq);
    if (s->state == SALE_ACTIVE && head->quantity <= s->available)
        world_fail("order %llu waits while its units are free", (unsigned long long)head->seq);
    if (s->state == SALE_ACTIVE && head->quantity > s->terms.product_qty - s->sold)
        world_fail("order %llu waits for more than will ever be free",
                   (unsigned long long)head->seq);
}

/* Whoever frees units or joins the list wakes the clock at once: nobody waits for its interval. */
static void check_nobody_is_overlooked(void)
{
    const struct judge *j = &sim.model.judge;
    for (uint32_t i = 0; i < j->sale_count; i++) {
        const struct judge_sale *s = &j->sales[i];
        const struct judge_order *head = judge_head(j, s);
        if (head != NULL && s->state == SALE_ACTIVE && head->quantity <= s->available)
            world_fail("order %llu waits while its units are free, and everybody sleeps",
                       (unsigned long long)head->seq);
    }
}

static void check_nothing_is_due(void)
{
    const struct judge *j = &sim.model.judge;
    for (uint32_t i = 0; i < j->order_count; i++)
        check_hold(&j->orders[i]);
    for (uint32_t i = 0; i < j->sale_count; i++)
        check_due(&j->sales[i]);
}

/* After the script: moves the time past every hold, then past every sale; false after that. */
static bool next_phase(void)
{
    if (sim.phase++ > 1)
        return false;
    int64_t later_ms = sim.phase == 1 ? sim.scale.hold_max_ms + slack_ms()
                                      : sim.scale.open_max_ms + 20 + slack_ms();
    world_trace("at rest; %lld ms pass", (long long)later_ms);
    sim.now.mono_ms += later_ms;
    sim.now.wall_ms += later_ms;
    sim.rests = 0;
    return true;
}

bool rest_check(int64_t next_ms)
{
    if (sim.syncing)
        return true;
    uint64_t seq = sim.model.judge.last_seq;
    sim.rests = seq == sim.rested_seq ? sim.rests + 1 : 0;
    sim.rested_seq = seq;
    if (log_last_claimed(&sim.engine.log) != seq || log_committed(&sim.engine.log) != seq)
        world_fail("everybody sleeps, and decisions are not durable");
    check_nobody_is_overlooked();
    if (sim.in_flight > 0) {
        if (sim.rests > RESTS_UNTIL_ANSWERED || next_ms == INT64_MAX)
            world_fail("a command is never answered");
        return true;
    }
    const char *differs = model_compare(&sim.model, &sim.engine);
    if (differs != NULL)
        world_fail("%s", differs);
    keyed_check_at_rest();
    if (sim.rests < RESTS_UNTIL_DONE)
        return true;
    check_nothing_is_due();
    return sim.budget > 0 || next_phase();
}
