/*
 * delay.c: every sync is slow, while buyers come faster than that (see faults.h).
 *
 * All of the engine's threads, the real store, and one net thread's port, played by main: it buys as fast as
 * the small rings take it. What does not fit is refused, as net/ does with 503, and nothing else happens to it;
 * what is answered has waited for its sync, and is found after the next start.
 *
 * Threads: main is the port's; the engine's own beside it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "engine/check.h"
#include "main/hash.h"
#include "tests/faults/faults.h"
#include "tests/faults/image.h"

enum { DELAY_MS = 50, LOAD_MS = 1500, DRAIN_MS = 20000, POLL_US = 200, SLOTS = 4096 };

static struct life life; /* too large for a stack */

struct load {
    struct port *port;
    struct sale *sale;
    struct tape *tape;
    int64_t sent_ms[SLOTS]; /* by context modulo SLOTS: far more than the rings hold */
    uint64_t sent, received, refused, overloaded, answered;
    int64_t shortest_ms, longest_ms;
};

static int64_t mono_ms(void)
{
    return now_read().mono_ms;
}

static void rest(void)
{
    const struct timespec time = {.tv_nsec = POLL_US * 1000};
    (void)nanosleep(&time, NULL);
}

static void take(struct load *load, const struct reply *reply)
{
    load->received++;
    if (reply->outcome == OUTCOME_OVERLOAD) {
        load->overloaded++;
        return;
    }
    MUST(reply->outcome == OUTCOME_CREATED, "an answer that fits the load");
    int64_t took_ms = mono_ms() - load->sent_ms[reply->context % SLOTS];
    load->shortest_ms = took_ms < load->shortest_ms ? took_ms : load->shortest_ms;
    load->longest_ms = took_ms > load->longest_ms ? took_ms : load->longest_ms;
    load->answered++;
    if (load->tape->answer_count < TAPE_ANSWERS_MAX)
        tape_answer(load->tape,
                    (struct answer){.own = true,
                                    .kind = reply->state == ORDER_PAYMENT ? EVENT_ORDER_RESERVED
                                                                          : EVENT_ORDER_QUEUED,
                                    .seq = reply->seq,
                                    .order_seq = reply->order->seq});
}

static void receive(struct load *load)
{
    struct reply reply;
    while (port_receive(load->port, &reply))
        take(load, &reply);
}

static bool buy(struct load *load)
{
    struct command command = {
        .kind = COMMAND_BUY, .sale = load->sale, .quantity = 1, .context = load->sent};
    command.name_bytes =
        (uint8_t)snprintf(command.name, sizeof command.name, "buyer %" PRIu64, load->sent);
    command.name_hash = keyed_siphash(command.name, command.name_bytes);
    load->sent_ms[load->sent % SLOTS] = mono_ms();
    if (!port_send(load->port, engine_worker_of(&life.engine, command.name_hash), &command))
        return false;
    load->sent++;
    return true;
}

static void open_sale(struct load *load)
{
    struct sale_terms *terms = calloc(1, sizeof *terms);
    MUST(terms != NULL, "memory for a sale");
    int64_t now_ms = now_read().wall_ms;
    *terms = (struct sale_terms){.name = "slow",
                                 .product_qty = 1000,
                                 .max_per_buyer = 1,
                                 .waitlist_max = WAITLIST_MAX,
                                 .hold_ms = HOLD_MS_MAX,
                                 .starts_at_ms = now_ms - 1000,
                                 .ends_at_ms = now_ms + 3600000};
    struct command create = {.kind = COMMAND_CREATE, .terms = terms};
    struct reply reply;
    MUST(port_send(load->port, engine_clock_target(&life.engine), &create), "a ring with room");
    port_flush(load->port);
    while (!port_receive(load->port, &reply))
        rest();
    MUST(reply.outcome == OUTCOME_CREATED, "a sale");
    load->sale = reply.sale;
}

/* A purchase that a full ring refuses is not repeated: the client would get a 503 and go away. */
static void press(struct load *load)
{
    int64_t until_ms = mono_ms() + LOAD_MS;
    while (mono_ms() < until_ms) {
        for (int i = 0; i < COMMAND_RING_SLOTS; i++)
            load->refused += !buy(load);
        port_flush(load->port);
        receive(load);
        rest();
    }
    until_ms = mono_ms() + DRAIN_MS;
    while (load->received < load->sent && mono_ms() < until_ms) {
        receive(load);
        rest();
    }
}

static bool check_load(const struct load *load)
{
    printf("faults delay: syncs of %d ms: %" PRIu64 " answered in %" PRId64 " to %" PRId64
           " ms, %" PRIu64 " refused at a full ring, %" PRIu64 " by a full log, %" PRIu64
           " without an answer\n",
           DELAY_MS, load->answered, load->shortest_ms, load->longest_ms, load->refused,
           load->overloaded, load->sent - load->received);
    return load->received == load->sent && load->refused > 0 && load->answered > 0 &&
           load->shortest_ms >= DELAY_MS - 1;
}

int run_delay(struct options *options)
{
    static struct load load;
    const struct vfs_plan slow = {
        .fault = VFS_DELAY, .one_in = 1, .calls = 1u << CALL_SYNC, .delay_ms = DELAY_MS};
    char dir[FOLDER_BYTES + 16];
    load.tape = tape_new();
    struct check check = {.tape = load.tape};
    make_folder(options);
    snprintf(dir, sizeof dir, "%s/live", options->folder);
    tape_rewind(load.tape);
    load.tape->cut = true; /* no reader has written down what it saw */
    load.shortest_ms = INT64_MAX;
    MUST(vfs_install(&slow, NULL), "a VFS");
    MUST(life_open(&life, dir, NULL, options->seed, 0) && engine_start(&life.engine), life.error);
    load.port = &life.engine.ports[0];
    open_sale(&load);
    press(&load);
    engine_stop(&life.engine);
    life_close(&life);
    bool good = check_load(&load);
    if (good && !check_start(&check, dir))
        good = printf("faults delay: %s\n", check.wrong) < 0;
    remove_data(dir);
    MUST(rmdir(options->folder) == 0, "an empty folder at the end");
    if (options->expects_caught)
        printf("faults delay: %s is %s\n", options->fault, good ? "NOT CAUGHT" : "caught");
    return good != options->expects_caught ? 0 : 1;
}
