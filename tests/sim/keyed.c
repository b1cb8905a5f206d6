/*
 * keyed.c: clients that give their purchases, payments and cancellations idempotency keys, and repeat them at any
 * time: while the first request is in flight, after it, after a crash (see sim.h).
 *
 * It does what net/keyed.c does before a command is sent. What must hold, whatever the schedule:
 *   - a key that was answered gets the same answer for as long as it is kept
 *   - what is answered under a key is durable as that key's answer, and a 503 is not kept
 *   - a request with a key that is in flight or answered, and another body, is never begun
 * support/model.c, where effects become durable, checks that a key has only one.
 *
 * Thread: the simulation's one; called by the ports' actors.
 * Fails:  world_fail().
 */
#include <string.h>

#include "tests/sim/sim.h"

bool keyed_wants_again(void)
{
    return sim.keys_asked > 0 && random_chance(&sim.random, sim.scale.again_in_16, 16);
}

struct flight keyed_again(void)
{
    static const uint32_t few[] = {1, 2, 8, SIM_KEYS_MAX};
    uint32_t among = few[random_below(&sim.random, 4)];
    among = among < sim.keys_asked ? among : sim.keys_asked;
    uint32_t which = sim.keys_asked - random_below(&sim.random, among);
    const struct asked_key *key = &sim.keys[which - 1];
    return (struct flight){.key = which,
                           .kind = key->kind,
                           .sale_seq = key->sale_seq,
                           .order_seq = key->order_seq,
                           .buyer = key->buyer,
                           .quantity = key->quantity};
}

static bool may_have_key(uint8_t kind)
{
    return kind == COMMAND_BUY || kind == COMMAND_PAY || kind == COMMAND_CANCEL ||
           kind == COMMAND_REFUSE;
}

static void new_key(const struct command *command, struct flight *flight)
{
    if (sim.keys_asked == SIM_KEYS_MAX || !random_chance(&sim.random, sim.scale.keyed_in_16, 16))
        return;
    struct asked_key *key = &sim.keys[sim.keys_asked++];
    uint64_t hash = model_hash(&sim.keys_asked, sizeof sim.keys_asked);
    *key = (struct asked_key){.tag = key_tag(hash),
                              .kind = command->kind,
                              .buyer = flight->buyer,
                              .quantity = flight->quantity,
                              .sale_seq = flight->sale_seq,
                              .order_seq = flight->order_seq};
    flight->key = sim.keys_asked;
}

static bool is_kept_still(const struct asked_key *key)
{
    return key->answered && sim.now.wall_ms - key->answer_asked_wall_ms <= KEY_KEEP_MS;
}

static bool same_answer(const struct kept *a, const struct kept *b)
{
    return a->tag == b->tag && a->body == b->body && a->seq == b->seq && a->value == b->value &&
           a->kind == b->kind && a->outcome == b->outcome && a->state == b->state;
}

static void note_answer(struct asked_key *key, const struct model_key *durable)
{
    key->answered = true;
    key->answer = durable->kept;
    key->answer_asked_wall_ms = durable->asked_wall_ms;
}

/* The table of keys gave this answer. */
static void check_settled(struct asked_key *key, const struct kept *kept)
{
    const struct model_key *durable = model_key_of(&sim.model, key->tag);
    unsigned long long tag = key->tag;
    if (durable == NULL || !same_answer(&durable->kept, kept))
        world_fail("key %llx is answered from the table, and not as it is durable", tag);
    else if (is_kept_still(key) && !same_answer(&key->answer, kept))
        world_fail("key %llx is answered another way than before", tag);
    else
        note_answer(key, durable);
}

bool keyed_begin(struct command *command, struct flight *flight)
{
    if (flight->key == 0 && may_have_key(command->kind))
        new_key(command, flight);
    if (flight->key == 0)
        return true;
    struct asked_key *key = &sim.keys[flight->key - 1];
    bool altered = random_chance(&sim.random, 1, 8);
    uint64_t body = key->tag + altered;
    bool kept = is_kept_still(key);
    struct kept answer;
    enum key_verdict verdict =
        keys_begin(&sim.engine.keys, key->tag, body, sim.now, &answer, &command->key);
    sim.key_verdicts[verdict]++;
    world_trace("key %llx: verdict %d", (unsigned long long)key->tag, (int)verdict);
    if (verdict == KEY_FRESH && kept && is_kept_still(key))
        world_fail("key %llx, which was answered, is begun again", (unsigned long long)key->tag);
    if (verdict == KEY_SETTLED)
        check_settled(key, &answer);
    if (verdict == KEY_NO_ROOM) {
        flight->key = 0; /* the client, told so, goes on without a key */
        return true;
    }
    if (verdict != KEY_FRESH || !random_chance(&sim.random, 1, 4))
        return verdict == KEY_FRESH;
    sim_step("invalid-request"); /* the request proves invalid only now: as if it had not come */
    keys_forget(&sim.engine.keys, command->key);
    return false;
}

/* The answer to this reply's request, not the key's last: in the simulation a request may be in flight for longer
 * than KEY_KEEP_MS, so that its key is answered a second time. */
static const struct model_key *durable_answer(uint64_t tag, const struct reply *reply)
{
    for (uint32_t i = sim.model.key_count; i > 0; i--) {
        const struct kept *k = &sim.model.keys[i - 1].kept;
        if (k->tag == tag && k->seq == reply->seq && k->kind == reply->kind &&
            k->outcome == reply->outcome && k->state == reply->state)
            return &sim.model.keys[i - 1];
    }
    return NULL;
}

const char *keyed_check(const struct flight *flight, const struct reply *reply)
{
    if (flight->key == 0)
        return NULL;
    struct asked_key *key = &sim.keys[flight->key - 1];
    if (outcome_is_passing((enum outcome)reply->outcome))
        return reply->key == 0 ? NULL : "it is kept, and should be asked again";
    const struct model_key *durable = durable_answer(key->tag, reply);
    if (durable == NULL)
        return "answered before its key's answer is durable";
    if (durable == model_key_of(&sim.model, key->tag))
        note_answer(key, durable);
    return NULL;
}

void keyed_check_at_rest(void)
{
    const struct keys *keys = &sim.engine.keys;
    for (uint32_t b = 0; b < keys->bucket_count; b++) {
        for (uint32_t i = 0; i < KEY_SLOTS; i++) {
            uint64_t state = atomic_load(&keys->buckets[b].words[i]) & KEY_STATE_MASK;
            if (state != 0 && state != KEY_STATE_SETTLED)
                world_fail("a key is in flight, and no command is");
        }
    }
}
