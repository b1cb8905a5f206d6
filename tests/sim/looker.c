/*
 * looker.c: the reconciler as an actor that looks at any moment, and must never see a divergence (see sim.h).
 *
 * Now and then, at any step of any other actor, it is woken, reads who has paid, and does the engine's part of a
 * run: every sale's words, every order's own state (engine/reconcile.h). Sometimes it then stops a sale, as if it had
 * found one that differs. Whatever the others are doing, anything that it finds is a false alarm or a real fault.
 *
 * Thread: the simulation's one. Fails: world_fail().
 */
#include "engine/reconcile.h"
#include "tests/sim/sim.h"

enum { STEPS_BETWEEN = 600, STOPS_IN_1000 = 50 };

/* Lets the others go on, or the time of a sync pass. */
static void wait_a_turn(void)
{
    if (sim.syncing)
        world_sleep(NULL, 0, 1);
    else
        sim_step("looker-wait");
}

static void fail(const struct reconcile_run *run)
{
    for (uint32_t i = 0; i < run->sale_count; i++) {
        const struct divergence *d = &run->sales[i].first;
        if (run->sales[i].count > 0)
            world_fail("reconciliation: sale %llu, seq %llu, %s: memory %s, events %s",
                       (unsigned long long)run->sales[i].sale->seq, (unsigned long long)d->seq,
                       d->field, d->memory, d->events);
    }
}

/* Every order in a sale's paid list has the time of its payment. */
static void look_at_paid(void)
{
    for (uint32_t i = 0; i < engine_sale_count(&sim.engine); i++) {
        const struct rows *paid = &engine_sale_at(&sim.engine, i)->paid;
        for (uint64_t at = rows_count(paid); at > 0; at--) {
            const struct order *order = (const struct order *)rows_get(paid, at - 1);
            const struct judge_order *o = judge_order(&sim.model.judge, order->seq);
            if (o->state != ORDER_PAID || atomic_load(&order->changed_at_ms) != o->changed_at_ms)
                world_fail("order %llu is listed with another time than that of its payment",
                           (unsigned long long)order->seq);
        }
    }
}

static void look(struct port *port)
{
    static const _Atomic bool never = false;
    struct reconcile_run run;
    look_at_paid();
    MUST(reconcile_begin(&run, &sim.engine, port, wait_a_turn, &never), "memory for a run");
    MUST(reconcile_words(&run), "nobody leaves");
    uint64_t seq = log_committed(&sim.engine.log);
    for (; seq > 0; seq--)
        if (seqmap_order(&sim.engine.seqmap, seq) != NULL)
            reconcile_order(&run, seqmap_order(&sim.engine.seqmap, seq));
    MUST(reconcile_orders(&run), "nobody leaves");
    bool differs = reconcile_divergent(&run) > 0;
    sim.looks++;
    if (differs)
        fail(&run);
    reconcile_end(&run);
}

static void stop_a_sale(struct port *port)
{
    uint32_t count = engine_sale_count(&sim.engine);
    if (count == 0)
        return;
    struct command command = {.sale = engine_sale_at(&sim.engine, random_below(&sim.random, count)),
                              .kind = COMMAND_STOP};
    struct reply reply;
    MUST(port_send(port, engine_clock_target(&sim.engine), &command), "an empty ring");
    port_flush(port);
    while (!port_receive(port, &reply))
        wait_a_turn();
}

void looker_body(void *arg)
{
    for (;;) {
        world_sleep(NULL, 0, -1);
        look(arg);
        if (random_below(&sim.random, 1000) < STOPS_IN_1000)
            stop_a_sale(arg);
    }
}

void looker_wake(void)
{
    if (sim.looker != NULL && random_below(&sim.random, STEPS_BETWEEN) == 0)
        sim.looker->woken = true;
}
