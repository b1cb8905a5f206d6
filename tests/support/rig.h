/*
 * rig.h: the engine on one thread, with time as an argument, played from short texts.
 *
 * Usage: struct rig rig;  rig_open(&rig, 2);
 *        const char *wrong = rig_play(&rig, "sale 3 units 2 each 9 wait 100 ms\n"
 *                                           "buy ann 2 -> created payment\n"
 *                                           "log reserved:ann\n");
 *        rig_close(&rig);
 *
 * Each line is one step; after it, every thread takes rounds until none has anything to do.
 *   sale Q units M each W wait H ms [starts S ends E]   a new sale, from now on "the" sale; S and E
 *                                    in ms from now (0 and an hour); not part of what `log` lists
 *   buy NAME Q -> OUTCOME [STATE]    OUTCOME: created, done, or a problem code of outcome.h
 *   eligible NAME -> OUTCOME         STATE: of the order, as order_state_name() has it
 *   pay NAME -> OUTCOME              NAME's last order; NAME#2: the second that NAME made
 *   cancel NAME -> OUTCOME
 *   pause, resume, end -> OUTCOME
 *   pass MS                          the time passes
 *   restart MS                       a crash; the machine is down for MS
 *   storage full | storage free
 *   log KIND[:NAME] …                exactly this was committed since the last `log`; `log` alone:
 *                                    nothing. KIND without its "order." or "sale."
 *   stock A H S W                    available, held, sold, waiting, in the view and in the word
 *   position NAME N                  in the waiting list; 0: not in it
 *   state STATE                      of the sale: UPCOMING, ACTIVE, PAUSED, ENDED, STOPPED
 *
 * Thread: the test's. Fails: rig_play() names the line and what came instead.
 */
#ifndef FLASHD_TESTS_SUPPORT_RIG_H
#define FLASHD_TESTS_SUPPORT_RIG_H

#include "tests/support/model.h"

/* Port 0 is for the texts, port 1 for a reconciliation. */
enum { RIG_ORDERS_MAX = 256, RIG_STATE_INTERVAL_MS = 100, RIG_PORTS = 2 };

struct rig_order {
    char name[JUDGE_NAME_BYTES + 1];
    uint64_t seq;
};

struct rig {
    struct engine engine;
    struct model model;
    struct now now;
    struct sale *sale; /* the one that texts refer to */
    struct rig_order orders[RIG_ORDERS_MAX];
    uint32_t order_count;
    uint64_t logged; /* the last seq that `log` has listed */
    char wrong[512];
};

void rig_open(struct rig *rig, uint32_t workers);
void rig_close(struct rig *rig);
/* NULL, or the line that failed and what came instead; borrowed until the next call. */
const char *rig_play(struct rig *rig, const char *text);

/* --- below the texts --- */

/* Everybody takes rounds until nobody has anything to do; false when the journal failed. */
bool rig_settle(struct rig *rig);
/* A crash and a new life, down_ms later. NULL, or why recovery refuses. */
const char *rig_restart(struct rig *rig, int64_t down_ms);
struct command rig_buy(const struct rig *rig, const char *name, uint32_t quantity);
/* Sends, without a round. False when the ring is full. */
bool rig_send(struct rig *rig, struct command command);
bool rig_receive(struct rig *rig, struct reply *reply);
/* Sends, settles, and takes the one reply. */
struct reply rig_ask(struct rig *rig, struct command command);
/* A sale that opens now; makes it the rig's. */
struct reply rig_new_sale(struct rig *rig, struct sale_terms terms);

#endif
