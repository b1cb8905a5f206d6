/*
 * sim.h: the simulation's parts and what they share: one world per seed, on one thread.
 *
 *   sim.c      the command line: many seeds, one seed with a trace, one deliberate fault
 *   world.c    a seed: makes the world, lets the actors take turns, crashes it, restores it
 *   keyed.c    idempotency keys that clients give, asked again at any time
 *   client.c   the ports' actors: send random commands, check every reply against what is durable
 *   race.c     one race, set up so that it is close, instead of random commands
 *   looker.c   the reconciler, which looks at any moment and must find nothing
 *   rest.c     what must hold whenever everybody sleeps; lets time pass then
 *
 * The engine's sources are built with FLASHD_SIM: each STEP() calls sim_step(), where the seed may
 * give the turn to another actor, or crash. An actor is the loop of one of engine.c's threads, with
 * its sleep: it does not run again until it is woken or its time has come, so a lost wake shows.
 *
 * Thread: one. Everything random comes from the seed, so a seed replays.
 */
#ifndef FLASHD_TESTS_SIM_SIM_H
#define FLASHD_TESTS_SIM_SIM_H

#include "engine/engine.h"
#include "tests/sim/coroutine.h"
#include "tests/support/model.h"
#include "tests/support/random.h"

enum {
    SIM_ACTORS_MAX = WORKERS_MAX + 2 + PORTS_MAX,
    SIM_STACK_BYTES = 128 * 1024,
    SIM_STEPS_MAX = 3000000,
    SIM_FLIGHTS_MAX = 128,
    SIM_KNOWN_MAX = 512,
    SIM_BUYERS_MAX = 24,
    SIM_KEYS_MAX = 512,
};

struct actor {
    const char *name;
    struct coroutine coroutine;
    uint32_t weight; /* how often it gets the turn, relative to the others */
    bool asleep;
    struct wake *wake; /* wakes it when its count is no longer `seen`; may be NULL */
    uint32_t seen;
    int64_t until_ms;  /* INT64_MAX: no limit */
    bool woken;        /* a port's */
    const char *point; /* where it stands */
};

/* A command that has no reply yet. */
struct flight {
    bool used;
    uint8_t kind; /* enum command_kind */
    uint8_t port;
    uint8_t buyer; /* index into names */
    uint32_t quantity;
    uint64_t sale_seq, order_seq;
    uint64_t sent_seq; /* what was durable when it was sent */
    uint32_t left;     /* a purchase: how many had left the waiting list by then */
    uint32_t key;      /* index + 1 into sim.keys; 0: no key */
};

/* An idempotency key that a client has given, with the request and its answer. */
struct asked_key {
    uint64_t tag;
    uint8_t kind, buyer;
    uint32_t quantity;
    uint64_t sale_seq, order_seq;
    bool answered;
    struct kept answer;
    int64_t answer_asked_wall_ms; /* when the request came that got this answer */
};

struct scale {
    uint32_t workers, ports, buyers, stride;
    uint32_t stock_max, quantity_max, waitlist_max, hold_max_ms, open_max_ms;
    uint32_t sync_max_ms, admin_in_1000, pause_ms_max, flights_max;
    uint32_t keys, keyed_in_16, again_in_16;
    int64_t interval_ms;
};

enum ending { ENDING_NONE, ENDING_REST, ENDING_CRASH, ENDING_FAILED };

struct sim {
    uint64_t seed;
    bool trace, turns; /* print what happens; print every turn, too */
    struct random random;
    struct scale scale;
    struct model model;
    struct engine engine;
    struct now now;
    /* --- turns --- */
    struct coroutine home;
    struct actor actors[SIM_ACTORS_MAX];
    uint32_t actor_count;
    struct actor *current, *looker;
    bool checking; /* nobody gets the turn: the checks read what steps read */
    bool syncing;  /* the journal waits for the medium */
    uint64_t steps, crash_at;
    uint32_t crashes_left;
    enum ending ending;
    char why[JUDGE_ERROR_BYTES + 100];
    /* --- clients --- */
    uint32_t budget; /* commands still to be sent */
    uint32_t in_flight;
    struct flight
        flights[SIM_FLIGHTS_MAX + PORTS_MAX]; /* each port may be about to send one more */
    struct asked_key keys[SIM_KEYS_MAX];
    uint32_t keys_asked;
    /* What the clients were told of, by seq: it must never be lost. */
    uint64_t sales[SALES_MAX], orders[SIM_KNOWN_MAX];
    uint32_t sales_known, orders_known;
    /* --- a race (race.c) --- */
    const struct race *race; /* NULL: random commands */
    bool race_on;            /* it has begun: from now on time passes between two steps, … */
    int64_t race_until_ms;   /* but, while somebody has something to do, not beyond this */
    struct actor *held;      /* waits at the race's point for the other side, … */
    uint64_t held_until;     /* but not beyond this step */
    bool contested;          /* both sides stood before their decisive swap at the same time */
    bool race_buys;          /* equal requests: purchases */
    uint32_t race_asked, race_told;     /* requests of the race, and replies to them */
    uint32_t race_asked_when_told;      /* how many had been sent when the first reply came */
    uint32_t race_successes[PORTS_MAX]; /* successes among these replies, by port */
    uint32_t winner;                    /* index into the race's winners */
    /* --- rest --- */
    uint64_t rested_seq; /* committed when everybody last slept */
    uint32_t rests;      /* how often everybody slept since something happened */
    uint32_t phase;
    /* --- for the report --- */
    uint64_t events[EVENT_KIND_COUNT], replies[OUTCOME_COUNT], lives, looks;
    uint64_t key_verdicts[KEY_NO_ROOM + 1];
};

extern struct sim sim;

/* Runs one seed. True when every check held; else sim.why. */
bool world_run(uint64_t seed);
/* Ends the seed: a check did not hold. Does not return when called by an actor. */
void world_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void world_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The current actor sleeps until the wake's count is not `seen`, `woken` is set, or the time is up. */
void world_sleep(struct wake *wake, uint32_t seen, int64_t sleep_ms);

/* The body of a port's actor; arg: its struct port. */
void client_body(void *arg);
/* Sends what the flight says; terms: of a new sale, else NULL. False: the ring is full. */
bool client_send(struct port *port, struct flight flight, struct sale_terms *terms);
/* Takes the replies that are there and checks each. */
void client_receive(struct port *port);
/* Wakes the workers that got commands or, as net threads do, plays them. */
void client_flush(struct port *port);

/* Whether the next request asks again with a key; then what it asks. */
bool keyed_wants_again(void);
struct flight keyed_again(void);
/* Call it before a command is sent. False: do not send it, its key does not begin a request. */
bool keyed_begin(struct command *command, struct flight *flight);
/* NULL, or what is wrong with this answer to a request with a key. */
const char *keyed_check(const struct flight *flight, const struct reply *reply);
/* Fails when a key is in flight; no command is. */
void keyed_check_at_rest(void);
/* The reconciler; arg: its struct port. */
void looker_body(void *arg);
/* Called at each step: wakes it by chance. */
void looker_wake(void);
/* After a restart: fails unless everything that a client was told of is there. */
void client_check_known(void);

/* Everybody sleeps: checks, and lets the time pass to `next_ms`. False: the seed is over. */
bool rest_check(int64_t next_ms);

/* --- race.c --- */

enum { RACE_WINNERS_MAX = 3 };
struct race {
    const char *name;
    const char *winners[RACE_WINNERS_MAX];
    /* The step where both sides stand just before the swap that decides; NULL: none. */
    const char *point;
    /* Makes the sale and the orders, and waits for the moment to begin. */
    void (*prepare)(struct port *port);
    /* Sends this port's share of the race. */
    void (*fire)(struct port *port);
    /* When all is over: the index of the winner in winners. */
    uint32_t (*judge)(void);
};

/* NULL when no race has this name; then their names are on stderr. */
const struct race *race_called(const char *name);
void race_choose_scale(void);
/* Takes the place of client_body(). */
void race_body(void *arg);
void race_heard(const struct flight *flight, const struct reply *reply);
/* Called at each step of an actor: may hold it there. */
void race_watch(struct actor *actor);
/* Lets the held actor go, and returns it. */
struct actor *race_let_go(void);
/* The seed is over: fills in sim.winner; fails when there was not exactly one. */
void race_verdict(void);

#endif
