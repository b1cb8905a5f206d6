/*
 * hash.c: see hash.h. J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF", 2012.
 *
 * Thread: the key is set once at start and read-only afterwards. Cannot fail.
 */
#include "main/hash.h"

#include <sodium.h>
#include <string.h>

#include "persist/database.h"

static unsigned char the_key[crypto_shorthash_KEYBYTES];
_Static_assert(sizeof the_key == DATABASE_KEY_BYTES, "the store keeps a key of this size");

void hash_set_key(const unsigned char *key)
{
    memcpy(the_key, key, sizeof the_key);
}

uint64_t keyed_siphash(const void *bytes, size_t len)
{
    uint64_t hash;
    _Static_assert(sizeof hash == crypto_shorthash_BYTES, "SipHash gives 64 bits");
    (void)crypto_shorthash((unsigned char *)&hash, bytes, len, the_key);
    return hash;
}
