/*
 * caps.h: how many streams there are, in all and from one address, and how many there may be.
 *
 * Usage: caps_init -> caps_enter … caps_leave, once for each stream that has entered -> caps_free
 *
 * Thread: the broadcaster; main before its start and after its end.
 * Entering and leaving cost the same however many streams there are: a hash table of addresses, whose pages are touched
 * on first use. An address is in it while it has a stream.
 */
#ifndef FLASHD_NET_CAPS_H
#define FLASHD_NET_CAPS_H

#include <stdbool.h>
#include <stdint.h>

struct caller; /* an address that has streams */

struct caps {
    uint32_t streams_max, per_address_max; /* the caller sets them, at any time */
    uint32_t streams;
    struct caller **callers; /* owned: chains by the address's low bits */
};

/* False when out of memory. */
bool caps_init(struct caps *caps);
void caps_free(struct caps *caps);
/* Counts one more stream from this address (a keyed hash). NULL: done, and *caller is for caps_leave(). Else the reason
 * why not, and nothing has changed. */
const char *caps_enter(struct caps *caps, uint64_t address, struct caller **caller);
void caps_leave(struct caps *caps, struct caller *caller);

#endif
