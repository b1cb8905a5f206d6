/*
 * hash.h: the engine's keyed hash: SipHash-2-4 (libsodium) with the database's key.
 *
 * Thread: hash_set_key() on main before any other thread; keyed_siphash() on any.
 */
#ifndef FLASHD_MAIN_HASH_H
#define FLASHD_MAIN_HASH_H

#include <stddef.h>
#include <stdint.h>

/* 16 bytes, copied. */
void hash_set_key(const unsigned char *key);
uint64_t keyed_siphash(const void *bytes, size_t len);

#endif
