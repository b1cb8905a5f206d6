/*
 * keys.h: Idempotency-Keys: which are in flight, which have their answer, and what that answer was.
 *
 * Usage, net thread: keys_begin() before anything is decided. KEY_FRESH: the command carries the key's number,
 *                    and the answer that makes it ends in keys_forget() or, sooner or later, in keys_settle().
 * Usage, worker:     a decision that has an event: keys_note(), and the event carries the number.
 *                    A refusal has none: keys_note(), then keys_hand_over() gives it to the journal.
 *                    503 is no answer, the client may ask again: keys_forget().
 * Usage, journal:    writes what keys_kept() says in the transaction of the event, or in any that comes after
 *                    what a refusal saw; after the commit keys_settle(). From then on keys_begin() gives it.
 * Usage, port:       a reply with a key goes out once keys_is_settled().
 *
 * A fixed table of buckets; a key's tag (61 bits of a keyed hash of path and key) says in which it lies, and
 * one word of the bucket is that key: tag, and
 *     CLAIMED -> IN_FLIGHT -> SETTLED, which may be reused KEY_KEEP_MS after the request; or back to FREE
 * Two threads must never both begin the same key, though slots become free at any time and so two of them may
 * claim different slots. The bucket's version decides: it is read before the bucket is searched, and moved on
 * by swap after a slot was claimed. If that swap fails, another key was added since the search: the thread gives
 * its slot back and searches again. No thread waits for another: a swap fails only because another one succeeded.
 *
 * Threads: any; whose turn it is with a key in flight, above. A full bucket is KEY_NO_ROOM.
 * Memory:  KEY_BYTES_PER_KEY for each key of the capacity, touched as it is used; nothing without keys.
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

/* A request with a key, and its answer: all that it takes to give the same again. Plain data. */
struct kept {
    uint64_t tag;  /* of path and key; key_tag() */
    uint64_t body; /* keyed hash of the request's body */
    uint64_t seq;  /* of the answer's event; of a refusal: what it saw */
    int64_t
        value; /* of a purchase: expiresAt in wall-clock ms, or the position in the waiting list */
    int64_t asked_mono_ms;        /* when the request came */
    uint8_t kind, outcome, state; /* as in struct reply */
};

/* What is known of a key. Valid while its word is not FREE; atomic because a late reader may still look when
 * the slot is reused: it finds another word then, and looks again. */
struct key_entry {
    _Atomic uint64_t body, seq;
    _Atomic int64_t value, asked_mono_ms;
    _Atomic uint32_t how;  /* kind, outcome, state */
    _Atomic uint32_t next; /* number of the next in a list, 0 for none; its owner's */
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
        handed_over; /* number of the last; linked by next */
    /* --- journal writes, any thread reads --- */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t kept_count; /* answers kept since the start */
};

enum { KEY_BYTES_PER_KEY = 2 * sizeof(struct key_bucket) / KEY_WORDS };

/* capacity: keys within KEY_KEEP_MS that are to fit, 0..KEYS_MAX. False when out of memory. */
bool keys_init(struct keys *keys, uint32_t capacity);
void keys_free(struct keys *keys);

/* From a keyed hash; never 0. */
uint64_t key_tag(uint64_t hash);

enum key_verdict {
    KEY_FRESH,      /* *number is the key's, until it is forgotten or settled */
    KEY_SETTLED,    /* *kept is its answer, which is durable */
    KEY_IN_FLIGHT,  /* being answered just now */
    KEY_OTHER_BODY, /* in flight or answered, and was asked with another body */
    KEY_NO_ROOM,    /* the bucket holds KEY_SLOTS younger keys */
};
enum key_verdict keys_begin(struct keys *keys, uint64_t tag, uint64_t body, struct now now,
                            struct kept *kept, uint32_t *number);

/* Whoever has the key in flight: nothing was decided under it. */
void keys_forget(struct keys *keys, uint32_t number);
/* Whoever decides: the answer, as it goes into struct reply. */
void keys_note(struct keys *keys, uint32_t number, uint8_t kind, uint8_t outcome, uint8_t state);
/* Worker: a refusal that saw nothing after seq is to be made durable. Wake the journal after it. */
void keys_hand_over(struct keys *keys, uint32_t number, uint64_t seq);
/* Port: whether the answer is durable. Any state but IN_FLIGHT means yes: the port that waits has not forgotten the
 * key, so it was settled, and its slot may have been reused since. Acquire: pairs with keys_settle(). */
static inline bool keys_is_settled(const struct keys *keys, uint32_t number)
{
    const struct key_bucket *bucket = &keys->buckets[number / KEY_WORDS];
    STEP("key-settled?");
    return (atomic_load_explicit(&bucket->words[number % KEY_WORDS - 1], memory_order_acquire) &
            KEY_STATE_MASK) != KEY_STATE_IN_FLIGHT;
}

/* Journal: whether anything was handed over since; the list of it, and the next in a list, 0 for none. */
static inline bool keys_waiting(const struct keys *keys)
{
    return atomic_load_explicit(&keys->handed_over, memory_order_relaxed) != 0;
}
uint32_t keys_take(struct keys *keys);
uint32_t keys_next(const struct keys *keys, uint32_t number);
/* Journal: puts a key before a list, which is its own. */
void keys_link(struct keys *keys, uint32_t number, uint32_t *list);
/* Journal: what an event's key is kept with. */
void keys_complete(struct keys *keys, uint32_t number, uint64_t seq, int64_t value);
struct kept keys_kept(const struct keys *keys, uint32_t number);
/* Journal: after the commit. */
void keys_settle(struct keys *keys, uint32_t number);

/* Recovery: a durable answer whose request came age_ms ago. False when its bucket is full. */
bool keys_restore(struct keys *keys, const struct kept *kept, struct now now, int64_t age_ms);

#endif
