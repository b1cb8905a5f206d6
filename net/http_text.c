/*
 * http_text.c: small questions about pieces of a head: tokens, hosts, white space, letter case.
 *
 * Thread: any; nothing here has state.
 * In:     slices of bytes that somebody else keeps; never changed.
 * Out:    an answer, or a smaller slice of the same bytes.
 * Fails:  never.
 */
#include <arpa/inet.h>
#include <string.h>

#include "net/http_internal.h"

/* clang-format off */
#define T CLASS_TOKEN
#define H (CLASS_TOKEN | CLASS_HOST)
#define X (CLASS_TOKEN | CLASS_HOST | CLASS_HEX)
#define D (CLASS_TOKEN | CLASS_HOST | CLASS_HEX | CLASS_DIGIT)
/* A host consists of RFC 3986's unreserved characters and %xx; sub-delims, such as a comma, are refused. */
const uint8_t http_char_classes[256] = {
    ['!'] = T, ['#'] = T, ['$'] = T, ['%'] = T, ['&'] = T, ['\''] = T, ['*'] = T, ['+'] = T,
    ['-'] = H, ['.'] = H, ['^'] = T, ['_'] = H, ['`'] = T, ['|'] = T, ['~'] = H,
    ['0'] = D, ['1'] = D, ['2'] = D, ['3'] = D, ['4'] = D, ['5'] = D, ['6'] = D, ['7'] = D,
    ['8'] = D, ['9'] = D, ['A'] = X, ['B'] = X, ['C'] = X, ['D'] = X, ['E'] = X, ['F'] = X,
    ['G'] = H, ['H'] = H, ['I'] = H, ['J'] = H, ['K'] = H, ['L'] = H, ['M'] = H, ['N'] = H,
    ['O'] = H, ['P'] = H, ['Q'] = H, ['R'] = H, ['S'] = H, ['T'] = H, ['U'] = H, ['V'] = H,
    ['W'] = H, ['X'] = H, ['Y'] = H, ['Z'] = H,
    ['a'] = X, ['b'] = X, ['c'] = X, ['d'] = X, ['e'] = X, ['f'] = X,
    ['g'] = H, ['h'] = H, ['i'] = H, ['j'] = H, ['k'] = H, ['l'] = H, ['m'] = H, ['n'] = H,
    ['o'] = H, ['p'] = H, ['q'] = H, ['r'] = H, ['s'] = H, ['t'] = H, ['u'] = H, ['v'] = H,
    ['w'] = H, ['x'] = H, ['y'] = H, ['z'] = H,
};
#undef T
#undef H
#undef X
#undef D
/* clang-format on */

bool http_all_of_class(struct slice text, enum char_class class)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!http_is_class(text.data[i], class)) {
            return false;
        }
    }
    return true;
}

bool http_is_token(struct slice text)
{
    return text.len > 0 && http_all_of_class(text, CLASS_TOKEN);
}

/* lower is in lower case. */
bool http_equals_ignoring_case(struct slice text, const char *lower, size_t len)
{
    if (text.len != len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        char c = text.data[i];
        if ((c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c) != lower[i]) {
            return false;
        }
    }
    return true;
}

struct slice http_slice_from(struct slice text, size_t from)
{
    return (struct slice){text.data + from, text.len - from};
}

/* Up to the first c, or all of it. */
struct slice http_slice_until(struct slice text, char c)
{
    const char *found = memchr(text.data, c, text.len);
    return (struct slice){text.data, found != NULL ? (size_t)(found - text.data) : text.len};
}

/* ---- hosts ---- */

/* The length of an IPv6 address with its brackets; 0 if it is none. */
static size_t literal_len(struct slice host)
{
    char address[INET6_ADDRSTRLEN];
    struct in6_addr parsed;
    size_t closing = http_slice_until(host, ']').len;
    if (closing == host.len || closing > sizeof address) {
        return 0;
    }
    memcpy(address, host.data + 1, closing - 1);
    address[closing - 1] = '\0';
    return inet_pton(AF_INET6, address, &parsed) == 1 ? closing + 1 : 0;
}

/* The length of the part before the port: "host" or "[literal]"; 0 if it is none. */
static size_t host_name_len(struct slice host)
{
    if (host.len > 0 && host.data[0] == '[') {
        return literal_len(host);
    }
    struct slice name = http_slice_until(host, ':');
    for (size_t i = 0; i < name.len; i++) {
        bool escaped = name.data[i] == '%' && name.len - i > 2 &&
                       http_is_class(name.data[i + 1], CLASS_HEX) &&
                       http_is_class(name.data[i + 2], CLASS_HEX);
        if (!escaped && !http_is_class(name.data[i], CLASS_HOST)) {
            return 0;
        }
    }
    return name.len;
}

/* uri-host [":" port], as RFC 9110 wants it in Host; the port may be empty. */
bool http_is_host(struct slice host)
{
    size_t name_len = host_name_len(host);
    if (name_len == 0) {
        return false;
    }
    struct slice rest = http_slice_from(host, name_len);
    if (rest.len == 0) {
        return true;
    }
    struct slice port = http_slice_from(rest, 1);
    if (rest.data[0] != ':' || port.len > 5 || !http_all_of_class(port, CLASS_DIGIT)) {
        return false;
    }
    uint32_t number = 0;
    for (size_t i = 0; i < port.len; i++) {
        number = number * 10 + (uint32_t)(port.data[i] - '0');
    }
    return number <= UINT16_MAX;
}
