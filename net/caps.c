/*
 * caps.c: see caps.h.
 *
 * Thread: the broadcaster. Fails: caps_init() and caps_enter() without memory; they say so.
 */
#include "net/caps.h"

#include <stdlib.h>

enum { CHAINS = 1 << 16 };

struct caller {
    uint64_t address;
    uint32_t streams; /* at least 1 */
    struct caller *next;
};

bool caps_init(struct caps *caps)
{
    caps->callers = calloc(CHAINS, sizeof(struct caller *));
    return caps->callers != NULL;
}

void caps_free(struct caps *caps)
{
    for (uint32_t i = 0; caps->callers != NULL && i < CHAINS; i++) {
        for (struct caller *at = caps->callers[i], *next; at != NULL; at = next) {
            next = at->next;
            free(at);
        }
    }
    free(caps->callers);
}

/* The link to this address's entry, or the link that ends its chain. */
static struct caller **link_of(struct caps *caps, uint64_t address)
{
    struct caller **link = &caps->callers[address % CHAINS];
    while (*link != NULL && (*link)->address != address)
        link = &(*link)->next;
    return link;
}

const char *caps_enter(struct caps *caps, uint64_t address, struct caller **caller)
{
    if (caps->streams >= caps->streams_max)
        return "the server has as many streams as it may";
    struct caller **link = link_of(caps, address), *at = *link;
    if ((at != NULL ? at->streams : 0) >= caps->per_address_max)
        return "this address has as many streams as one may";
    if (at == NULL) {
        at = malloc(sizeof *at);
        if (at == NULL)
            return "the server has no memory for another stream";
        *at = (struct caller){.address = address};
        *link = at;
    }
    at->streams++;
    caps->streams++;
    *caller = at;
    return NULL;
}

void caps_leave(struct caps *caps, struct caller *caller)
{
    caps->streams--;
    if (--caller->streams > 0)
        return;
    *link_of(caps, caller->address) = caller->next;
    free(caller);
}
