/*
 * port.h: how a net thread talks to the engine: commands out, replies back, both by value.
 *
 * Usage, net thread, once a round:
 *     port_send(port, target, &command)      for each request; false: the target's ring is full, answer
 *                                            503
 *     port_play(port, now)                   takes the seat of each worker that was sent something, if it is
 *                                            free, and decides (seat.h); wakes each other target, once
 *     while (port_receive(port, &reply)) …   replies whose event is durable
 *     if (port_may_sleep(port)) sleep;
 *     port_awake(port);
 *
 * A reply waits in its ring until everything it depends on is committed: the ring is the parking lot.
 * Each target's replies carry rising seqs, so only the ring's head needs a look. Replies with a key wait for the
 * commit that keeps their answer, in a ring of their own, so that no reply without a key waits behind them.
 *
 * Threads: a port belongs to one thread (net-N, the broadcaster, the reconciler, main in the demo); the other
 *          ends of its rings belong to the thread that plays the worker, to the clock or to the reconciler.
 *          wake() is called by any engine thread or net thread, only while the port's thread says that it
 *          sleeps.
 */
#ifndef FLASHD_ENGINE_PORT_H
#define FLASHD_ENGINE_PORT_H

#include "engine/keys.h"
#include "engine/log.h"
#include "engine/now.h"
#include "engine/outcome.h"
#include "engine/ring.h"
#include "engine/sale.h"

enum command_kind {
    COMMAND_BUY,       /* sale, name, quantity */
    COMMAND_ELIGIBLE,  /* sale, name */
    COMMAND_PAY,       /* order */
    COMMAND_CANCEL,    /* order */
    COMMAND_REFUSE,    /* outcome: decided by the sender, to be kept under the key */
    COMMAND_CREATE,    /* terms: the clock frees them with free() */
    COMMAND_PAUSE,     /* sale */
    COMMAND_RESUME,    /* sale */
    COMMAND_END,       /* sale */
    COMMAND_STOP,      /* sale: pause it for a divergence */
    COMMAND_LOOK,      /* sale: its words at one instant, into sale->look */
    COMMAND_RECONCILE, /* to the reconciler: make a run that begins after this */
};

struct command {
    uint64_t context; /* the sender's own; comes back in the reply */
    struct sale *sale;
    struct order *order;
    union {
        struct sale_terms *terms; /* COMMAND_CREATE */
        uint32_t key; /* for workers: number of its idempotency key (keys.h), 0 for none */
    };
    uint64_t name_hash;
    union {
        uint32_t quantity;
        uint32_t outcome; /* COMMAND_REFUSE: enum outcome */
    };
    uint8_t kind; /* enum command_kind */
    uint8_t name_bytes;
    char name[BUYER_NAME_BYTES_MAX];
};

struct reply {
    uint64_t context;
    uint64_t seq; /* of its event, or the last it may have seen: send once this is committed */
    struct sale *sale;
    struct order *order;
    uint8_t outcome; /* enum outcome */
    uint8_t state;   /* enum order_state that the order was given or found in */
    uint8_t kind;    /* of the command */
    uint32_t key;    /* not 0: send once this key is settled */
};

RING(command)
RING(reply)

enum { TARGETS_MAX = WORKERS_MAX + 2 }; /* the workers, then the clock, then the reconciler */

/* Between one port and one target. */
struct channel {
    struct command_ring commands;     /* port -> target */
    struct reply_ring replies, keyed; /* target -> port: without a key, and with one */
};

/* How a target that was sent commands gets to work. */
struct port_target {
    struct wake *wake;                       /* of its thread; borrowed */
    void (*play)(void *arg, struct now now); /* NULL: its own thread must do it */
    void *arg;
};

struct port {
    /* --- its thread only --- */
    const struct log *log;
    const struct keys *keys;
    uint32_t target_count;
    struct port_target targets[TARGETS_MAX];
    bool dirty[TARGETS_MAX];         /* was sent commands, not played or flushed yet */
    uint32_t in_flight[TARGETS_MAX]; /* commands without a reply: never more than a ring holds */
    bool parked[TARGETS_MAX], keyed_parked[TARGETS_MAX]; /* its head holds a reply that must wait */
    struct reply head[TARGETS_MAX], keyed_head[TARGETS_MAX];
    /* --- both ends, see struct channel --- */
    struct channel channels[TARGETS_MAX];
    /* --- its thread sets; its thread and port_notify() clear --- */
    _Alignas(CACHE_LINE_BYTES) _Atomic bool asleep;
    /* --- set once at start --- */
    void (*wake)(void *arg);
    void *wake_arg;
};

/* False when out of memory. */
bool port_init(struct port *port, const struct log *log, const struct keys *keys,
               const struct port_target targets[], uint32_t target_count);
void port_free(struct port *port);

bool port_send(struct port *port, uint32_t target, struct command *command);
void port_play(struct port *port, struct now now);
/* Only wakes the targets: for a thread that must not play a worker, since others than buyers may hold it up. */
void port_flush(struct port *port);
bool port_receive(struct port *port, struct reply *reply);
/* Says "I am going to sleep"; false when a reply is there to be received first. */
bool port_may_sleep(struct port *port);
void port_awake(struct port *port);

/* Any thread of the engine, or one that plays a worker: after something the port waits for became visible. */
void port_notify(struct port *port);
/* Target: puts a reply into its ring. Never full: a port has at most a ring's worth in flight. */
void port_answer(struct port *port, uint32_t target, struct reply *reply);

#endif
