/*
 * tokens.c: fuzz target: tokens and signatures (see fuzz.h). The first byte chooses one of:
 *
 *   raw      no text is a valid token, and a token is found in a request where the contract says
 *   mint     a minted token verifies until it expires, as the one it was minted for; changed in any
 *            place it does not; the same goes for a payment's signature
 *   signed   header and claims of the fuzzer's own, signed with the right key: what passes has alg
 *            HS256, no crit, an allowed sub, and is within its time
 *
 * Thread: libFuzzer's one.
 */
#include <jansson.h>
#include <math.h>
#include <sodium.h>
#include <string.h>

#include "net/token.h"
#include "tests/fuzz/fuzz.h"

enum { CHANGES = 12, HMAC_BYTES = crypto_auth_hmacsha256_BYTES };

static const int64_t now_ms = 1700000000000;
static struct token_key key = {.len = TOKEN_KEY_BYTES_MIN};

static enum token_verdict verify(const char *text, size_t len, int64_t at_ms,
                                 struct identity *identity)
{
    /* A copy of its own size, so that reading past its end is seen. */
    char *copy = malloc(len > 0 ? len : 1);
    HOLDS(copy != NULL, "memory");
    memcpy(copy, text, len);
    enum token_verdict verdict = token_verify(&key, (struct slice){copy, len}, at_ms, identity);
    free(copy);
    HOLDS(verdict == TOKEN_OK || identity->subject[0] == '\0', "who is refused is nobody");
    HOLDS(token_verdict_text(verdict)[0] != '\0', "every verdict has a sentence");
    return verdict;
}

/* ---- raw ---- */

static void expect_found(struct slice token, struct slice wanted, const char *sentence)
{
    HOLDS(token.data != NULL && token.len == wanted.len &&
              memcmp(token.data, wanted.data, wanted.len) == 0,
          sentence);
}

static bool is_plain(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] <= ' ' || text.data[i] == '&' || text.data[i] == ';' ||
            text.data[i] == '"' || text.data[i] == 0x7f)
            return false;
    return text.len > 0;
}

/* A text is found in each place where a token may stand; the header comes first. */
static void find(struct slice text, struct slice noise)
{
    char header[4200], pairs[9000];
    if (!is_plain(text) || text.len > 4000 || noise.len > 4000)
        return;
    int header_len = snprintf(header, sizeof header, "bearer  %.*s ", (int)text.len, text.data);
    int query_len = snprintf(pairs, sizeof pairs, "xtoken=1&token=&token=%.*s&token=2",
                             (int)text.len, text.data);
    struct http_request request = {.query = {pairs, (size_t)query_len}};
    expect_found(token_of_request(&request), text, "?token= is found");
    request.cookie = noise;
    request.authorization = (struct slice){header, (size_t)header_len};
    expect_found(token_of_request(&request), text, "the header's token comes first");
}

static void try_raw(struct slice rest)
{
    struct identity identity;
    struct slice first = take_line(&rest), second = take_line(&rest);
    const struct http_request request = {.authorization = first, .cookie = second, .query = rest};
    struct slice token = token_of_request(&request);
    if (token.data != NULL)
        HOLDS(verify(token.data, token.len, now_ms, &identity) != TOKEN_OK,
              "who does not have the key has no token");
    HOLDS(verify(first.data, first.len, now_ms, &identity) != TOKEN_OK,
          "who does not have the key has no token");
    HOLDS(!payment_signature_ok(&key, rest, first), "nor a signature");
    find(first, second);
}

/* ---- mint ---- */

static bool is_utf8(struct slice text)
{
    json_t *string = json_stringn(text.data, text.len);
    json_decref(string);
    return string != NULL;
}

static bool may_be_subject(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f ||
            ((unsigned char)text.data[i] == 0xc2 && i + 1 < text.len &&
             (unsigned char)text.data[i + 1] < 0xa0))
            return false;
    return text.len >= 1 && text.len <= TOKEN_SUBJECT_BYTES_MAX && is_utf8(text);
}

/* Changes one character, adds one, removes one, or removes a piece. */
static size_t change(char *text, size_t len, struct random *dice)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=";
    uint32_t at = random_below(dice, (uint32_t)len);
    char other = alphabet[random_below(dice, sizeof alphabet - 1)];
    switch (random_below(dice, 4)) {
    case 0:
        memmove(text + at, text + at + 1, len - at - 1);
        return len - 1;
    case 1:
        memmove(text + at + 1, text + at, len - at);
        text[at] = other;
        return len + 1;
    case 2:
        return at;
    default:
        text[at] = other;
        return len;
    }
}

static void check_changes(const char *token, struct random *dice)
{
    struct identity identity;
    size_t len = strlen(token);
    for (int i = 0; i < CHANGES; i++) {
        char changed[TOKEN_BYTES_MAX + 2];
        memcpy(changed, token, len);
        size_t changed_len = change(changed, len, dice);
        if (changed_len == len && memcmp(changed, token, len) == 0)
            continue;
        HOLDS(verify(changed, changed_len, now_ms, &identity) != TOKEN_OK,
              "a token that was changed is no token");
    }
}

static void check_payment(struct slice body, struct random *dice)
{
    static const char hex[] = "0123456789abcdefABCDEF";
    unsigned char mac[HMAC_BYTES];
    char header[7 + 2 * HMAC_BYTES + 1] = "sha256=";
    crypto_auth_hmacsha256_state state;
    (void)crypto_auth_hmacsha256_init(&state, key.bytes, key.len);
    (void)crypto_auth_hmacsha256_update(&state, (const unsigned char *)body.data, body.len);
    (void)crypto_auth_hmacsha256_final(&state, mac);
    (void)sodium_bin2hex(header + 7, sizeof header - 7, mac, sizeof mac);
    struct slice text = {header, sizeof header - 1};
    HOLDS(payment_signature_ok(&key, body, text), "a payment's signature is taken");
    char *digit = &header[7 + random_below(dice, 2 * HMAC_BYTES)];
    char other = hex[random_below(dice, sizeof hex - 1)];
    bool same = (other | 0x20) == (*digit | 0x20);
    *digit = other;
    HOLDS(payment_signature_ok(&key, body, text) == same, "a changed one is not");
}

static void try_mint(struct slice rest, struct random *dice)
{
    char subject[256], token[TOKEN_BYTES_MAX + 1];
    struct identity identity;
    size_t len = rest.len < sizeof subject - 1 ? rest.len : sizeof subject - 1;
    memcpy(subject, rest.data, len);
    subject[len] = '\0';
    len = strlen(subject);
    check_payment(rest, dice);
    enum token_role role = (enum token_role)random_below(dice, 3);
    int64_t ttl_s = random_between(dice, 1, 1000000);
    bool minted = token_mint(&key, role, subject, now_ms, ttl_s, token, sizeof token);
    HOLDS(minted == may_be_subject((struct slice){subject, len}),
          "whoever may be a subject gets a token, and nobody else");
    if (!minted)
        return;
    int64_t end_ms = now_ms + ttl_s * 1000;
    HOLDS(verify(token, strlen(token), end_ms - 1, &identity) == TOKEN_OK,
          "a minted token is good until it expires");
    HOLDS(identity.role == role && strcmp(identity.subject, subject) == 0 &&
              identity.expires_at_ms == end_ms,
          "it is the token of whom it was minted for");
    HOLDS(verify(token, strlen(token), end_ms, &identity) == TOKEN_EXPIRED, "then it has expired");
    check_changes(token, dice);
}

/* ---- signed ---- */

static size_t add_base64(char *out, size_t room, const unsigned char *bytes, size_t len)
{
    return strlen(
        sodium_bin2base64(out, room, bytes, len, sodium_base64_VARIANT_URLSAFE_NO_PADDING));
}

/* What must be true of header and claims that passed. libjwt reads them as C strings. */
static void check_passed(const char *header, const char *claims, const struct identity *identity)
{
    json_t *h = json_loads(header, 0, NULL), *c = json_loads(claims, 0, NULL);
    const char *alg = json_string_value(json_object_get(h, "alg"));
    HOLDS(alg != NULL && strcmp(alg, "HS256") == 0, "what passes has alg HS256");
    HOLDS(json_object_get(h, "crit") == NULL, "what passes calls nothing critical");
    const json_t *exp = json_object_get(c, "exp"), *nbf = json_object_get(c, "nbf");
    HOLDS(json_is_number(exp) && json_number_value(exp) * 1000 > (double)now_ms,
          "what passes has not expired");
    HOLDS(nbf == NULL || json_number_value(nbf) * 1000 < (double)now_ms + 1000,
          "what passes is valid already");
    const char *sub = json_string_value(json_object_get(c, "sub"));
    HOLDS(sub != NULL && strcmp(sub, identity->subject) == 0 &&
              may_be_subject((struct slice){sub, strlen(sub)}),
          "what passes has a subject, and is that subject's");
    const char *role = json_string_value(json_object_get(c, "role"));
    HOLDS((identity->role == ROLE_ADMIN) == (role != NULL && strcmp(role, "admin") == 0),
          "an admin is who is called admin");
    json_decref(h);
    json_decref(c);
}

static void try_signed(struct slice rest)
{
    char header[1024], claims[1024], token[4096];
    unsigned char mac[HMAC_BYTES];
    struct slice line = take_line(&rest);
    struct identity identity;
    if (line.len >= sizeof header || rest.len >= sizeof claims)
        return;
    size_t len = add_base64(token, sizeof token, (const unsigned char *)line.data, line.len);
    token[len++] = '.';
    len += add_base64(token + len, sizeof token - len, (const unsigned char *)rest.data, rest.len);
    crypto_auth_hmacsha256_state state;
    (void)crypto_auth_hmacsha256_init(&state, key.bytes, key.len);
    (void)crypto_auth_hmacsha256_update(&state, (const unsigned char *)token, len);
    (void)crypto_auth_hmacsha256_final(&state, mac);
    token[len++] = '.';
    len += add_base64(token + len, sizeof token - len, mac, sizeof mac);
    enum token_verdict verdict = verify(token, len, now_ms, &identity);
    HOLDS(verdict != TOKEN_BAD_SIGNATURE, "the right signature is taken");
    memcpy(header, line.data, line.len);
    header[line.len] = '\0';
    memcpy(claims, rest.data, rest.len);
    claims[rest.len] = '\0';
    if (verdict == TOKEN_OK)
        check_passed(header, claims, &identity);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    memset(key.bytes, 'k', key.len);
    struct random dice = random_of(data, size);
    struct slice rest = {(const char *)data + 1, size - 1};
    if (data[0] % 3 == 0)
        try_raw(rest);
    else if (data[0] % 3 == 1)
        try_mint(rest, &dice);
    else
        try_signed(rest);
    return 0;
}
