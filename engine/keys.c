/*
 * keys.c: the table of idempotency keys (see keys.h for its rules).
 *
 * Happy path of a new key: search() the bucket, claim a free word by swap, move the bucket's version on by
 * swap, and the key is IN_FLIGHT. Of a known key: search() finds its word, read_entry() copies its answer.
 * Failure: either swap may fail because of another thread; then the bucket is searched again.
 *
 * Memory order: two threads that begin keys of the same tag both swap the same version, so the one that succeeds
 * later has read the version after the other's swap, and with it sees the word claimed before that swap (swaps
 * acq_rel, loads acquire). An entry is written with releases, by the thread that has the key in flight, after
 * it claimed the word. A reader loads the entry with acquires and then the word again: if the word is still the
 * same, the slot was not reused meanwhile.
 *
 * Thread: any (see keys.h). Fails: never waits; KEY_NO_ROOM when a bucket is full.
 */
#include "engine/keys.h"

#include <sys/mman.h>

#include "engine/check.h"
#include "engine/step.h"

static size_t table_bytes(const struct keys *keys)
{
    return keys->bucket_count * sizeof(struct key_bucket);
}

bool keys_init(struct keys *keys, uint32_t capacity)
{
    MUST(capacity <= KEYS_MAX, "a number of keys out of range");
    *keys = (struct keys){.bucket_count = capacity / (KEY_WORDS / 2) + 1};
    void *table = mmap(NULL, table_bytes(keys), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    keys->buckets = table != MAP_FAILED ? table : NULL;
    return table != MAP_FAILED;
}

void keys_free(struct keys *keys)
{
    if (keys->buckets != NULL)
        (void)munmap(keys->buckets, table_bytes(keys));
    keys->buckets = NULL;
}

uint64_t key_tag(uint64_t hash)
{
    uint64_t tag = hash & ~(uint64_t)KEY_STATE_MASK;
    return tag != 0 ? tag : KEY_STATE_MASK + 1;
}

/* ---- places ---- */

/* A number is bucket * KEY_WORDS + slot + 1, so never 0. */
struct place {
    struct key_bucket *bucket;
    uint32_t slot;
};

static struct place place_of(const struct keys *keys, uint32_t number)
{
    MUST(number % KEY_WORDS != 0 && number / KEY_WORDS < keys->bucket_count, "no key's number");
    return (struct place){&keys->buckets[number / KEY_WORDS], number % KEY_WORDS - 1};
}

static uint32_t number_of(const struct keys *keys, struct place place)
{
    return (uint32_t)(place.bucket - keys->buckets) * KEY_WORDS + place.slot + 1;
}

static struct key_entry *entry_of(const struct keys *keys, uint32_t number)
{
    struct place place = place_of(keys, number);
    return &place.bucket->entries[place.slot];
}

static void set_word(struct place place, uint64_t word)
{
    STEP("key-word");
    atomic_store_explicit(&place.bucket->words[place.slot], word, memory_order_release);
}

static uint64_t word_at(struct place place)
{
    return atomic_load_explicit(&place.bucket->words[place.slot], memory_order_acquire);
}

/* ---- beginning ---- */

/* Returns the slot of this tag, or KEY_SLOTS. *reusable: a slot that may be claimed, or KEY_SLOTS;
 * *reusable_word: the word in that slot. */
static uint32_t search(struct key_bucket *bucket, uint64_t tag, int64_t mono_ms, uint32_t *reusable,
                       uint64_t *reusable_word)
{
    *reusable = KEY_SLOTS;
    for (uint32_t i = 0; i < KEY_SLOTS; i++) {
        STEP("key-look");
        uint64_t word = word_at((struct place){bucket, i});
        if ((word & ~(uint64_t)KEY_STATE_MASK) == tag)
            return i;
        if (*reusable != KEY_SLOTS && *reusable_word == 0)
            continue;
        bool old = (word & KEY_STATE_MASK) == KEY_STATE_SETTLED &&
                   atomic_load_explicit(&bucket->entries[i].asked_mono_ms, memory_order_acquire) +
                           KEY_KEEP_MS <
                       mono_ms;
        if (word == 0 || (old && *reusable == KEY_SLOTS)) {
            *reusable = i;
            *reusable_word = word;
        }
    }
    return KEY_SLOTS;
}

static struct kept read_entry(const struct key_entry *entry, uint64_t tag)
{
    uint32_t how = atomic_load_explicit(&entry->how, memory_order_acquire);
    return (struct kept){.tag = tag,
                         .body = atomic_load_explicit(&entry->body, memory_order_acquire),
                         .seq = atomic_load_explicit(&entry->seq, memory_order_acquire),
                         .value = atomic_load_explicit(&entry->value, memory_order_acquire),
                         .asked_mono_ms =
                             atomic_load_explicit(&entry->asked_mono_ms, memory_order_acquire),
                         .kind = (uint8_t)(how >> 16),
                         .outcome = (uint8_t)(how >> 8),
                         .state = (uint8_t)how};
}

/* What is known of the key at this place. False when its word has changed meanwhile: search again. */
static bool known(struct place place, uint64_t tag, uint64_t body, struct kept *kept,
                  enum key_verdict *verdict)
{
    uint64_t word = word_at(place);
    *kept = read_entry(&place.bucket->entries[place.slot], tag);
    STEP("key-look-again");
    if ((word & ~(uint64_t)KEY_STATE_MASK) != tag || word_at(place) != word)
        return false;
    if ((word & KEY_STATE_MASK) == KEY_STATE_CLAIMED)
        *verdict = KEY_IN_FLIGHT;
    else if (kept->body != body)
        *verdict = KEY_OTHER_BODY;
    else
        *verdict = (word & KEY_STATE_MASK) == KEY_STATE_SETTLED ? KEY_SETTLED : KEY_IN_FLIGHT;
    return true;
}

/* Claims the slot and moves the version on. False: another thread was faster, and nothing is changed. */
static bool claim(struct place place, uint64_t seen, uint64_t version, uint64_t tag)
{
    STEP("key-claim");
    if (!atomic_compare_exchange_strong_explicit(&place.bucket->words[place.slot], &seen,
                                                 tag | KEY_STATE_CLAIMED, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return false;
    STEP("key-version");
    if (FAULT(FAULT_KEY_TWICE) ||
        atomic_compare_exchange_strong_explicit(&place.bucket->version, &version, version + 1,
                                                memory_order_acq_rel, memory_order_relaxed))
        return true;
    set_word(place, 0);
    return false;
}

static void fill(struct place place, uint64_t tag, uint64_t body, int64_t asked_mono_ms)
{
    struct key_entry *entry = &place.bucket->entries[place.slot];
    atomic_store_explicit(&entry->body, body, memory_order_release);
    atomic_store_explicit(&entry->asked_mono_ms, asked_mono_ms, memory_order_release);
    set_word(place, tag | KEY_STATE_IN_FLIGHT);
}

static struct key_bucket *bucket_of(const struct keys *keys, uint64_t tag)
{
    return &keys->buckets[(tag >> 32) % keys->bucket_count];
}

enum key_verdict keys_begin(struct keys *keys, uint64_t tag, uint64_t body, struct now now,
                            struct kept *kept, uint32_t *number)
{
    struct place place = {.bucket = bucket_of(keys, tag)};
    enum key_verdict verdict = KEY_NO_ROOM;
    for (;;) {
        STEP("key-begin");
        uint64_t version = atomic_load_explicit(&place.bucket->version, memory_order_acquire);
        uint64_t free_word = 0;
        uint32_t free_slot;
        place.slot = search(place.bucket, tag, now.mono_ms, &free_slot, &free_word);
        if (place.slot != KEY_SLOTS) {
            if (known(place, tag, body, kept, &verdict))
                return verdict;
            continue;
        }
        if (free_slot == KEY_SLOTS)
            return KEY_NO_ROOM;
        place.slot = free_slot;
        if (!claim(place, free_word, version, tag))
            continue;
        fill(place, tag, body, now.mono_ms);
        *number = number_of(keys, place);
        return KEY_FRESH;
    }
}

/* ---- in flight ---- */

void keys_forget(struct keys *keys, uint32_t number)
{
    set_word(place_of(keys, number), 0);
}

void keys_note(struct keys *keys, uint32_t number, uint8_t kind, uint8_t outcome, uint8_t state)
{
    atomic_store_explicit(&entry_of(keys, number)->how,
                          (uint32_t)kind << 16 | (uint32_t)outcome << 8 | state,
                          memory_order_release);
}

void keys_complete(struct keys *keys, uint32_t number, uint64_t seq, int64_t value)
{
    struct key_entry *entry = entry_of(keys, number);
    atomic_store_explicit(&entry->seq, seq, memory_order_release);
    atomic_store_explicit(&entry->value, value, memory_order_release);
}

void keys_hand_over(struct keys *keys, uint32_t number, uint64_t seq)
{
    struct key_entry *entry = entry_of(keys, number);
    keys_complete(keys, number, seq, 0);
    uint32_t last = atomic_load_explicit(&keys->handed_over, memory_order_relaxed);
    do {
        STEP("key-hand-over");
        atomic_store_explicit(&entry->next, last, memory_order_relaxed);
        /* Release: pairs with keys_take(). It does not matter if the head changed and came back to `last`. */
    } while (!atomic_compare_exchange_weak_explicit(&keys->handed_over, &last, number,
                                                    memory_order_release, memory_order_relaxed));
}

/* ---- journal ---- */

uint32_t keys_take(struct keys *keys)
{
    STEP("key-take");
    return atomic_exchange_explicit(&keys->handed_over, 0, memory_order_acquire);
}

uint32_t keys_next(const struct keys *keys, uint32_t number)
{
    return atomic_load_explicit(&entry_of(keys, number)->next, memory_order_relaxed);
}

void keys_link(struct keys *keys, uint32_t number, uint32_t *list)
{
    atomic_store_explicit(&entry_of(keys, number)->next, *list, memory_order_relaxed);
    *list = number;
}

struct kept keys_kept(const struct keys *keys, uint32_t number)
{
    struct place place = place_of(keys, number);
    return read_entry(&place.bucket->entries[place.slot],
                      word_at(place) & ~(uint64_t)KEY_STATE_MASK);
}

void keys_settle(struct keys *keys, uint32_t number)
{
    struct place place = place_of(keys, number);
    uint64_t word = word_at(place);
    MUST((word & KEY_STATE_MASK) == KEY_STATE_IN_FLIGHT, "settling a key that is not in flight");
    set_word(place, (word & ~(uint64_t)KEY_STATE_MASK) | KEY_STATE_SETTLED);
    atomic_fetch_add_explicit(&keys->kept_count, 1, memory_order_relaxed);
}

/* ---- recovery ---- */

bool keys_restore(struct keys *keys, const struct kept *kept, struct now now, int64_t age_ms)
{
    struct kept before;
    uint32_t number;
    if (age_ms > KEY_KEEP_MS || FAULT(FAULT_FORGET_KEYS))
        return true;
    enum key_verdict verdict = keys_begin(keys, kept->tag, kept->body, now, &before, &number);
    if (verdict != KEY_FRESH)
        return verdict != KEY_NO_ROOM;
    /* A clock that was set back makes no key last longer than KEY_KEEP_MS from now. */
    atomic_store_explicit(&entry_of(keys, number)->asked_mono_ms,
                          now.mono_ms - (age_ms > 0 ? age_ms : 0), memory_order_release);
    keys_note(keys, number, kept->kind, kept->outcome, kept->state);
    keys_complete(keys, number, kept->seq, kept->value);
    keys_settle(keys, number);
    return true;
}
