/*
 * order.c: names and moves of the order states, and the memory of orders.
 *
 * Thread: the tables are constants; an arena belongs to one thread.
 * Fails: order_new() returns NULL when the kernel gives no more memory; the caller refuses the
 * purchase.
 */
#include "engine/order.h"

#include <string.h>
#include <sys/mman.h>

#include "engine/check.h"

enum { ARENA_BLOCK_BYTES = 1 << 20 };

static const char *const state_names[ORDER_STATE_COUNT] = {
    [ORDER_NONE] = "none",       [ORDER_WAITING] = "waiting", [ORDER_PAYMENT] = "payment",
    [ORDER_PAID] = "paid",       [ORDER_EXPIRED] = "expired", [ORDER_CANCELLED] = "cancelled",
    [ORDER_CLEARED] = "cleared",
};

/* Row: from; bit: to. */
static const uint8_t moves[ORDER_STATE_COUNT] = {
    [ORDER_NONE] = 1 << ORDER_WAITING | 1 << ORDER_PAYMENT,
    [ORDER_WAITING] = 1 << ORDER_PAYMENT | 1 << ORDER_CANCELLED | 1 << ORDER_CLEARED,
    [ORDER_PAYMENT] = 1 << ORDER_PAID | 1 << ORDER_EXPIRED | 1 << ORDER_CANCELLED,
    [ORDER_EXPIRED] = 1 << ORDER_PAID | 1 << ORDER_EXPIRED,
};

const char *order_state_name(enum order_state state)
{
    MUST(state < ORDER_STATE_COUNT, "an order state outside the table");
    return state_names[state];
}

bool order_move_allowed(enum order_state from, enum order_state to)
{
    return from < ORDER_STATE_COUNT && to < ORDER_STATE_COUNT && (moves[from] >> to & 1) != 0;
}

static size_t order_bytes(uint8_t name_bytes)
{
    size_t align = _Alignof(struct order);
    return (sizeof(struct order) + name_bytes + align - 1) / align * align;
}

struct order *order_new(struct order_arena *arena, const char *name, uint8_t name_bytes,
                        uint64_t name_hash)
{
    size_t bytes = order_bytes(name_bytes);
    if ((size_t)(arena->end - arena->next) < bytes) {
        char *block = mmap(NULL, ARENA_BLOCK_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED)
            return NULL;
        arena->next = block;
        arena->end = block + ARENA_BLOCK_BYTES;
    }
    struct order *order = (struct order *)(void *)arena->next;
    arena->next += bytes;
    memset(order, 0, sizeof *order);
    order->name_bytes = name_bytes;
    order->name_hash = name_hash;
    memcpy(order->name, name, name_bytes);
    return order;
}

void order_undo_new(struct order_arena *arena, struct order *order)
{
    MUST((char *)order + order_bytes(order->name_bytes) == arena->next,
         "undoing an order that is not the last");
    arena->next = (char *)order;
}
