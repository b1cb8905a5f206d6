/*
 * keys.h: Idempotency-Keys: which are in flight, which have their answer, and what that answer was.
 *
 * Usage, net thread: keys_begin() before anything is decided. After KEY_FRESH the command carries the key's
 *                    number, and sooner or later its answer leads to keys_forget() or keys_settle().
 * Usage, worker:     a decision with an event: keys_note(), and the event carries the number.
 *                    A refusal, which has no event: keys_note(), then keys_hand_over() to the journal.
 *                    A 503, which is not kept (the client may ask again): keys_forget().
 * Usage, journal:    writes what keys_kept() says: in the transaction of the event; for a refusal, in one that
 *                    holds all that the refusal saw, or in a later one. After the commit, keys_settle(): from
 *                    then on keys_begin() returns the answer.
 * Usage, port:       a reply with a key goes out once keys_is_settled().
 *
 * A fixed table of buckets. A key's tag (61 bits of a keyed hash of path and key) selects the bucket; in it, one
 * word holds the key's tag and its state:
 *     CLAIMED -> IN_FLIGHT -> SETTLED, which may be reused KEY_KEEP_MS after the request; or back to FREE
 * Two threads must never both begin the same key, although slots become free at any time, so that two threads may
 * claim different slots. The bucket's version decides: it is read before the bucket is searched, and moved on
 * by swap after a slot was claimed. If that swap fails, another key was added since the search: the thread gives
 * its slot back and searches again. No thread waits for another: a swap fails only because another one succeeded.
 *
 * Threads: any; the usage above says which one may touch a key in flight. A full bucket gives KEY_NO_ROOM.
 * Memory:  KEY_BYTES_PER_KEY for each key of the capacity; pages are touched on first use, none without keys.
 */
#ifndef FLASHD_ENGINE_KEYS_H
#define FLASHD_ENGINE_KEYS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/bounds.h"
#include "engine/now.h"
#include "engine/step.h"

enum { KEY_SLOTS = KEY_WORDS - 1 /* in a bucket; half of them are expected to be used */ };

/* A request with a key, and its answer: all that is needed to repeat the answer. Plain data. */
struct kept {
    uint64_t tag;  /* of path and key; key_tag() */
    uint64_t body; /* keyed hash of the request's body */
    uint64_t seq;  /* of the answer's event; for a refusal, of the last event it may have seen */
    int64_t
        value; /* for a purchase: expiresAt in wall-clock ms, or the position in the waiting list */
    int64_t asked_mono_ms;        /* when the request came */
    uint8_t kind, outcome, state; /* as in struct reply */
};

/* What is known of a key. Valid while its word is not FREE; atomic because a slow reader may still be reading it
 * when the slot is reused: that reader then finds another word, and searches again. */
struct key_entry {
    _Atomic uint64_t body, seq;
    _Atomic int64_t value, asked_mono_ms;
    _Atomic uint32_t how;  /* kind, outcome, state */
    _Atomic uint32_t next; /* the next key in a list, 0 for none; written by its owner */
};

/* The low bits of a word. A free one is 0. */
enum key_state {
    KEY_STATE_CLAIMED = 1,
    KEY_STATE_IN_FLIGHT = 2,
    KEY_STATE_SETTLED = 3,
    KEY_STATE_MASK = 7
};

struct key_bucket {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t version; /* goes up with each key that is begun */
    _Atomic uint64_t words[KEY_SLOTS];                   /* tag and enum key_state; 0: free */
    struct key_entry entries[KEY_SLOTS];
};

struct keys {
    /* --- set once --- */
    struct key_bucket *buckets;
    uint32_t bucket_count;
    /* --- workers push, journal takes all --- */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t
        handed_over; /* number of the key that came last; `next` links the others */
    /* --- journal writes, any thread reads --- */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t kept_count; /* answers kept since the start */
};

enum { KEY_BYTES_PER_KEY = 2 * sizeof(struct key_bucket) / KEY_WORDS };

/* capacity: how many keys of the last KEY_KEEP_MS should fit, 0..KEYS_MAX. False when out of memory. */
bool keys_init(struct keys *keys, uint32_t capacity);
void keys_free(struct keys *keys);

/* From a keyed hash; never 0. */
uint64_t key_tag(uint64_t hash);

enum key_verdict {
    KEY_FRESH,      /* *number is the key's, until it is forgotten or settled */
    KEY_SETTLED,    /* *kept is its answer, which is durable */
    KEY_IN_FLIGHT,  /* being answered just now */
    KEY_OTHER_BODY, /* in flight or answered, but the request had another body */
    KEY_NO_ROOM,    /* the bucket is full of keys too young to be reused */
};
enum key_verdict keys_begin(struct keys *keys, uint64_t tag, uint64_t body, struct now now,
                            struct kept *kept, uint32_t *number);

/* The thread that has the key in flight: frees it, since nothing was decided under it. */
void keys_forget(struct keys *keys, uint32_t number);
/* The thread that decides: notes the answer, as it goes into struct reply. */
void keys_note(struct keys *keys, uint32_t number, uint8_t kind, uint8_t outcome, uint8_t state);
/* Worker: gives the journal a refusal, which saw no event after seq, to make durable. Wake the journal then. */
void keys_hand_over(struct keys *keys, uint32_t number, uint64_t seq);
/* Port: whether the answer is durable. Any state but IN_FLIGHT means yes: a key whose reply waits in a port was not
 * forgotten, so it was settled, and its slot may have been reused since. Acquire: pairs with keys_settle(). */
static inline bool keys_is_settled(const struct keys *keys, uint32_t number)
{
    const struct key_bucket *bucket = &keys->buckets[number / KEY_WORDS];
    STEP("key-settled?");
    return (atomic_load_explicit(&bucket->words[number % KEY_WORDS - 1], memory_order_acquire) &
            KEY_STATE_MASK) != KEY_STATE_IN_FLIGHT;
}

/* Journal: whether keys were handed over; takes the list of them; the next key in a list. 0: none. */
static inline bool keys_waiting(const struct keys *keys)
{
    return atomic_load_explicit(&keys->handed_over, memory_order_relaxed) != 0;
}
uint32_t keys_take(struct keys *keys);
uint32_t keys_next(const struct keys *keys, uint32_t number);
/* Journal: puts a key at the head of one of its own lists. */
void keys_link(struct keys *keys, uint32_t number, uint32_t *list);
/* Journal: sets the seq and the value of a key's answer; reads all that is kept of it. */
void keys_complete(struct keys *keys, uint32_t number, uint64_t seq, int64_t value);
struct kept keys_kept(const struct keys *keys, uint32_t number);
/* Journal: after the commit. */
void keys_settle(struct keys *keys, uint32_t number);

/* Recovery: puts back a durable answer whose request came age_ms ago. False when its bucket is full. */
bool keys_restore(struct keys *keys, const struct kept *kept, struct now now, int64_t age_ms);

#endif
