/*
 * id.c: hex in and out, and the tag (see id.h).
 *
 * Thread: any. Fails: id_parse() gives 0 for what is not an id of ours.
 */
#include "engine/id.h"

enum { HALF_CHARS = ID_CHARS / 2 };

uint64_t id_tag(keyed_hash *hash, uint64_t seq)
{
    /* The prefix keeps ids apart from names, which are hashed with the same key. */
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

/* A digit's value plus 1; 0 for any other character. */
static const uint8_t hex_digits[256] = {
    ['0'] = 1, ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9, ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
};

static bool hex_read(const char *text, uint64_t *value)
{
    bool digits_only = true;
    *value = 0;
    for (int i = 0; i < HALF_CHARS; i++) {
        unsigned digit = hex_digits[(unsigned char)text[i]];
        digits_only = digits_only && digit != 0;
        *value = *value << 4 | (digit - 1);
    }
    return digits_only;
}

static bool id_read(const char *text, size_t len, uint64_t *seq, uint64_t *tag)
{
    return len == ID_CHARS && hex_read(text, seq) && hex_read(text + HALF_CHARS, tag);
}

bool id_well_formed(const char *text, size_t len)
{
    uint64_t seq, tag;
    return id_read(text, len, &seq, &tag);
}

uint64_t id_parse(keyed_hash *hash, const char *text, size_t len)
{
    uint64_t seq, tag;
    return id_read(text, len, &seq, &tag) && id_tag(hash, seq) == tag ? seq : 0;
}
