/*
 * id.h: public ids: 24 lower-case hex digits that sort by creation time and cannot be guessed.
 *
 *   12 digits  seq of the event that created the thing: to look it up, and to sort by
 *   12 digits  the low 48 bits of a keyed hash of that seq: whoever knows a transaction id may pay it
 *
 * The key is made with the database and kept in it, so an id can be computed from the seq at any time; orders do not
 * store theirs.
 *
 * Thread: any; the hash function is set once at start.
 */
#ifndef FLASHD_ENGINE_ID_H
#define FLASHD_ENGINE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ID_CHARS = 24, ID_TAG_BITS = 48 };

/* A keyed hash that clients can't predict (SipHash or better). Also hashes the names that clients
 * choose. */
typedef uint64_t keyed_hash(const void *bytes, size_t len);

/* The unguessable half of an id, below 2^ID_TAG_BITS. */
uint64_t id_tag(keyed_hash *hash, uint64_t seq);
/* Writes ID_CHARS digits, no terminator. */
void id_write(char *out, uint64_t seq, uint64_t tag);
/* The seq of a well-formed id whose tag is right; 0 for any other text. Constant time in the tag.
 */
uint64_t id_parse(keyed_hash *hash, const char *text, size_t len);
/* Whether text looks like an id at all. */
bool id_well_formed(const char *text, size_t len);

#endif
