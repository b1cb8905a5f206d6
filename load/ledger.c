/*
 * ledger.c: see ledger.h.
 *
 * Thread: as there. Fails: ledger_open() without memory.
 */
#include "load/ledger.h"

#include <stdio.h>
#include <string.h>

#include "load/draw.h"

static const char *const kind_names[SEEN_KIND_COUNT] = {
#define X(name, wire) wire,
    SEEN_KINDS(X)
#undef X
};

bool ledger_open(struct ledger *ledger, const char *tag)
{
    memset(ledger, 0, sizeof *ledger);
    (void)snprintf(ledger->tag, sizeof ledger->tag, "%s", tag);
    return chunks_open(&ledger->orders, sizeof(struct ledger_order)) &&
           chunks_open(&ledger->owns, sizeof(struct own_stream)) &&
           chunks_open(&ledger->events, sizeof(struct seen_event)) &&
           chunks_open(&ledger->publics, sizeof(struct public_state)) &&
           chunks_open(&ledger->reply_times, sizeof(_Atomic uint64_t));
}

void ledger_close(struct ledger *ledger)
{
    chunks_close(&ledger->orders);
    chunks_close(&ledger->owns);
    chunks_close(&ledger->events);
    chunks_close(&ledger->publics);
    chunks_close(&ledger->reply_times);
}

const char *seen_kind_name(enum seen_kind kind)
{
    return kind_names[kind];
}

enum seen_kind seen_kind_named(struct span name)
{
    for (int kind = SEEN_KIND_COUNT - 1; kind > SEEN_OTHER; kind--)
        if (span_is(name, kind_names[kind]))
            return (enum seen_kind)kind;
    return SEEN_OTHER;
}

uint32_t ledger_buyer_named(const struct ledger *ledger, struct span name)
{
    size_t tag_len = strlen(ledger->tag);
    if (name.data == NULL || name.len <= tag_len + 1 ||
        memcmp(name.data, ledger->tag, tag_len) != 0 || name.data[tag_len] != '-')
        return NO_BUYER;
    const struct span digits = {name.data + tag_len + 1, name.len - tag_len - 1};
    uint64_t number = span_number(digits, UINT64_MAX);
    return number < NO_BUYER ? (uint32_t)number : NO_BUYER;
}

uint64_t ledger_hash(struct span id)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < id.len; i++)
        hash = (hash ^ (unsigned char)id.data[i]) * 0x100000001b3 + 0x51;
    return id.len == 0 ? 0 : draw_mix(hash) | 1;
}

void ledger_note_reply(struct ledger *ledger, uint64_t seq, uint64_t at_ns)
{
    if (seq > ledger->replied_seq)
        ledger->replied_seq = seq;
    _Atomic uint64_t *at =
        seq > ledger->base_seq ? chunks_make(&ledger->reply_times, seq - ledger->base_seq) : NULL;
    if (at != NULL)
        atomic_store_explicit(at, at_ns, memory_order_relaxed);
}

uint64_t ledger_reply_ns(const struct ledger *ledger, uint64_t seq)
{
    const _Atomic uint64_t *at =
        seq > ledger->base_seq ? chunks_get(&ledger->reply_times, seq - ledger->base_seq) : NULL;
    return at == NULL ? 0 : atomic_load_explicit(at, memory_order_relaxed);
}

uint64_t ledger_since_reply_ns(const struct ledger *ledger, uint64_t seq, uint64_t now_ns)
{
    uint64_t reply_ns = ledger_reply_ns(ledger, seq);
    return reply_ns != 0 && reply_ns < now_ns ? now_ns - reply_ns : 0;
}
