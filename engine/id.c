/*
 * id.c: hex in and out, and the tag (see id.h).
 *
 * Thread: any. Fails: id_parse() gives 0 for what is not an id of ours.
 */
#include "engine/id.h"

enum { HALF_CHARS = ID_CHARS / 2 };

uint64_t id_tag(keyed_hash *hash, uint64_t seq)
{
    /* The prefix keeps ids and names apart under the one key. */
    const uint64_t message[2] = {0x6469647368616c66ULL, seq};
    return hash(message, sizeof message) & ((1ULL << ID_TAG_BITS) - 1);
}

static void hex_write(char *out, uint64_t value)
{
    static const char digits[] = "0123456789abcdef";
    for (int i = HALF_CHARS - 1; i >= 0; i--, value >>= 4)
        out[i] = digits[value & 15];
}

void id_write(char *out, uint64_t seq, uint64_t tag)
{
    hex_write(out, seq);
    hex_write(out + HALF_CHARS, tag);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool id_well_formed(const char *text, size_t len)
{
    if (len != ID_CHARS)
        return false;
    for (size_t i = 0; i < len; i++)
        if (hex_digit(text[i]) < 0)
            return false;
    return true;
}

static uint64_t hex_read(const char *text)
{
    uint64_t value = 0;
    for (int i = 0; i < HALF_CHARS; i++)
        value = value << 4 | (uint64_t)hex_digit(text[i]);
    return value;
}

uint64_t id_parse(keyed_hash *hash, const char *text, size_t len)
{
    if (!id_well_formed(text, len))
        return 0;
    uint64_t seq = hex_read(text);
    return id_tag(hash, seq) == hex_read(text + HALF_CHARS) ? seq : 0;
}
