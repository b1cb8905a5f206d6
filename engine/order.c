/*
 * order.c: names and moves of the order states, and the memory of orders.
 *
 * Thread: the tables are constants; an arena belongs to the thread on its worker's seat
 * (order_arena_free(): main, at the end).
 *
 * Fails: order_new() returns NULL when the kernel gives no more memory; the caller refuses the
 * purchase.
 */
#include "engine/order.h"

#include <string.h>
#include <sys/mman.h>

#include "engine/check.h"

/* At the start of each block; the orders follow. */
struct order_block {
    struct order_block *before;
};

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

/* Aligned to its size, so that the kernel can back it by one huge page: one fault and one TLB entry
 * for twenty thousand orders. NULL when out of memory. */
static void *map_block(void)
{
    const size_t bytes = ORDER_BLOCK_BYTES;
    char *map = mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    size_t before = -(uintptr_t)map & (bytes - 1);
    if (before > 0)
        (void)munmap(map, before);
    (void)munmap(map + before + bytes, bytes - before);
    (void)madvise(map + before, bytes, MADV_HUGEPAGE); /* if it fails, small pages do */
    return map + before;
}

static_assert(sizeof(struct order_block) +
                      WORKER_BATCH_MAX * (sizeof(struct order) + BUYER_NAME_BYTES_MAX + 8) <=
                  ORDER_BLOCK_BYTES / 8,
              "a new block holds a batch, and what is left of an old one is little");

static bool add_block(struct order_arena *arena)
{
    struct order_block *block = map_block();
    if (block == NULL)
        return false;
    block->before = arena->blocks;
    arena->blocks = block;
    arena->next = (char *)(block + 1);
    arena->end = (char *)block + ORDER_BLOCK_BYTES;
    return true;
}

void order_arena_free(struct order_arena *arena)
{
    while (arena->blocks != NULL) {
        struct order_block *block = arena->blocks;
        arena->blocks = block->before;
        (void)munmap(block, ORDER_BLOCK_BYTES);
    }
    arena->next = arena->end = NULL;
}

static bool have_bytes(struct order_arena *arena, size_t bytes)
{
    return (size_t)(arena->end - arena->next) >= bytes || add_block(arena);
}

bool order_reserve(struct order_arena *arena, uint32_t count)
{
    return have_bytes(arena, count * order_bytes(BUYER_NAME_BYTES_MAX));
}

struct order *order_new(struct order_arena *arena, const char *name, uint8_t name_bytes,
                        uint64_t name_hash)
{
    size_t bytes = order_bytes(name_bytes);
    if (!have_bytes(arena, bytes))
        return NULL;
    struct order *order = (struct order *)(void *)arena->next;
    arena->next += bytes;
    memset(order, 0, sizeof *order);
    order->name_bytes = name_bytes;
    order->name_hash = name_hash;
    memcpy(order->name, name, name_bytes);
    return order;
}
