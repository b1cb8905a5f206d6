/*
 * token.c: finds a token in a request, checks it, mints one; checks a payment's signature.
 *
 * Thread: any. libjwt 1.10, jansson and libsodium are called without shared state; none of the
 *         libsodium functions used here depends on sodium_init().
 * In:     borrowed slices; nothing outlives the call.
 * Out:    a verdict and an identity; or a slice of the request.
 * Fails:  by refusing.
 *
 * What libjwt 1.10 leaves to us: jwt_decode() parses header and claims before it looks at the
 * signature, skips characters outside the alphabet, writes one byte past an empty segment, takes
 * any algorithm the header names in any letter case, ignores "crit", and never looks at exp or nbf.
 * So a token passes here, in this order: length and alphabet; three segments, the third as long as
 * an HMAC-SHA256; the HMAC itself, in constant time; only then jwt_decode(), which checks it once
 * more; alg exactly HS256 and no crit; exp, nbf; sub.
 */
#include "net/token.h"

#include <errno.h>
#include <jansson.h>
#include <jwt.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/bounds.h"
#include "engine/check.h"
#include "engine/now.h"
#include "engine/step.h"
#include "engine/text.h"
#include "net/pairs.h"

enum {
    HMAC_BYTES = crypto_auth_hmacsha256_BYTES,
    SIGNATURE_CHARS = 43, /* 32 bytes in base64url without padding */
};

static const int64_t ttl_s_max = INT64_C(100) * 366 * 24 * 3600;

static_assert(sizeof((struct identity *)0)->subject == BUYER_NAME_BYTES_MAX + 1,
              "a user id is a buyer's name");

static const char *const verdict_texts[] = {
    [TOKEN_OK] = "The token is valid.",
    [TOKEN_ABSENT] =
        "This needs a token: Authorization: Bearer, the cookie flashd_token, or ?token=.",
    [TOKEN_UNCONFIGURED] = "This server has no key for tokens, so it can accept none.",
    [TOKEN_MALFORMED] = "The token is not a JWT signed with HS256 that has a sub of 1 to 64 bytes.",
    [TOKEN_BAD_SIGNATURE] = "The token's signature does not match.",
    [TOKEN_EXPIRED] = "The token has expired.",
    [TOKEN_NO_EXPIRY] = "The token lacks exp, or its exp is not a number.",
    [TOKEN_NOT_YET] = "The token is not valid yet (nbf).",
};

const char *token_verdict_text(enum token_verdict verdict)
{
    MUST((size_t)verdict < sizeof verdict_texts / sizeof verdict_texts[0], "a verdict has a text");
    return verdict_texts[verdict];
}

/* ---- where a token is in a request ---- */

static const struct slice nothing = {NULL, 0};

/* A cookie's value may stand in double quotes (RFC 6265, 4.1.1). */
static struct slice cookie_value_of(struct slice cookies, const char *name)
{
    struct slice value = pairs_value(cookies, ';', name);
    if (value.len < 2 || value.data[0] != '"' || value.data[value.len - 1] != '"')
        return value;
    if (value.len == 2)
        return nothing;
    return (struct slice){value.data + 1, value.len - 2};
}

/* The token; data NULL if there is another scheme, or none. */
static struct slice bearer_of(struct slice authorization)
{
    static const char scheme[] = "Bearer";
    const size_t len = sizeof scheme - 1;
    if (authorization.data == NULL)
        return nothing;
    struct slice text = slice_trimmed(authorization);
    if (text.len < len || strncasecmp(text.data, scheme, len) != 0)
        return nothing;
    if (text.len > len && !slice_is_blank(text.data[len]))
        return nothing;
    return slice_trimmed((struct slice){text.data + len, text.len - len});
}

struct slice token_of_request(const struct http_request *request)
{
    MUST(request != NULL, "a token is looked for in a request");
    struct slice token = bearer_of(request->authorization);
    if (token.data == NULL)
        token = cookie_value_of(request->cookie, "flashd_token");
    if (token.data == NULL)
        token = pairs_value(request->query, '&', "token");
    return token;
}

/* ---- signatures ---- */

static void hmac_of(const struct token_key *key, const char *data, size_t len,
                    unsigned char mac[HMAC_BYTES])
{
    crypto_auth_hmacsha256_state state;
    (void)crypto_auth_hmacsha256_init(&state, key->bytes, key->len);
    (void)crypto_auth_hmacsha256_update(&state, (const unsigned char *)data, len);
    (void)crypto_auth_hmacsha256_final(&state, mac);
    sodium_memzero(&state, sizeof state);
}

static bool is_base64url(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

/* Two dots, three segments that are not empty, the last as long as an HMAC-SHA256. *signed_len is
 * the length of the first two with their dot. */
static bool has_shape(struct slice token, size_t *signed_len)
{
    size_t dots = 0, last_dot = 0;
    if (token.len > TOKEN_BYTES_MAX)
        return false;
    for (size_t i = 0; i < token.len; i++) {
        if (token.data[i] == '.') {
            bool segment_empty = dots == 0 ? i == 0 : i == last_dot + 1;
            if (segment_empty)
                return false;
            last_dot = i;
            dots++;
        } else if (!is_base64url(token.data[i])) {
            return false;
        }
    }
    *signed_len = last_dot;
    return dots == 2 && token.len - last_dot - 1 == SIGNATURE_CHARS;
}

static bool signature_matches(const struct token_key *key, struct slice token, size_t signed_len)
{
    unsigned char expected[HMAC_BYTES], given[HMAC_BYTES];
    size_t given_len = 0;
    MUST(token.len == signed_len + 1 + SIGNATURE_CHARS, "has_shape() measured the token");
    if (sodium_base642bin(given, sizeof given, token.data + signed_len + 1, SIGNATURE_CHARS, NULL,
                          &given_len, NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
        given_len != HMAC_BYTES)
        return false;
    hmac_of(key, token.data, signed_len, expected);
    return sodium_memcmp(expected, given, HMAC_BYTES) == 0 || FAULT(FAULT_TOKEN_UNSIGNED);
}

bool payment_signature_ok(const struct token_key *key, struct slice body, struct slice header)
{
    static const char prefix[] = "sha256=";
    const size_t prefix_len = sizeof prefix - 1;
    unsigned char expected[HMAC_BYTES], given[HMAC_BYTES];
    size_t given_len = 0;
    if (key->len == 0 || header.data == NULL || header.len != prefix_len + 2 * (size_t)HMAC_BYTES ||
        strncasecmp(header.data, prefix, prefix_len) != 0)
        return false;
    if (sodium_hex2bin(given, sizeof given, header.data + prefix_len, header.len - prefix_len, NULL,
                       &given_len, NULL) != 0 ||
        given_len != HMAC_BYTES)
        return false;
    hmac_of(key, body.data == NULL ? "" : body.data, body.data == NULL ? 0 : body.len, expected);
    return sodium_memcmp(expected, given, HMAC_BYTES) == 0 || FAULT(FAULT_PAYMENT_UNSIGNED);
}

/* ---- claims of a token whose signature matched ---- */

enum claim { CLAIM_MISSING, CLAIM_NUMBER, CLAIM_OTHER };

/* A NumericDate: seconds, perhaps with a fraction (RFC 7519, 2). Clamped to what fits in int64 ms.
 */
static enum claim time_claim(jwt_t *jwt, const char *name, int64_t *at_ms)
{
    static const double seconds_max = 9e12;
    char *text = jwt_get_grants_json(jwt, name);
    if (text == NULL)
        return errno == EINVAL ? CLAIM_MISSING : CLAIM_OTHER; /* other: out of memory */
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    free(text);
    bool is_number = json_is_number(value);
    double seconds = json_number_value(value);
    json_decref(value);
    if (!is_number)
        return CLAIM_OTHER;
    if (seconds > seconds_max)
        seconds = seconds_max;
    *at_ms = seconds < 0 ? 0 : (int64_t)(seconds * 1000);
    return CLAIM_NUMBER;
}

static enum token_verdict check_times(jwt_t *jwt, int64_t now_ms, int64_t *expires_at_ms)
{
    int64_t not_before_ms;
    if (time_claim(jwt, "exp", expires_at_ms) != CLAIM_NUMBER)
        return TOKEN_NO_EXPIRY;
    if (now_ms >= *expires_at_ms && !FAULT(FAULT_TOKEN_EXPIRED))
        return TOKEN_EXPIRED;
    switch (time_claim(jwt, "nbf", &not_before_ms)) {
    case CLAIM_OTHER:
        return TOKEN_MALFORMED;
    case CLAIM_NUMBER:
        return now_ms < not_before_ms ? TOKEN_NOT_YET : TOKEN_OK;
    case CLAIM_MISSING:
        break;
    }
    return TOKEN_OK;
}

static bool is_subject(const char *text)
{
    size_t len = strnlen(text, TOKEN_SUBJECT_BYTES_MAX + 1);
    return len >= 1 && len <= TOKEN_SUBJECT_BYTES_MAX && text_is_name(text, len);
}

static const char *const role_names[] = {
    [ROLE_NONE] = NULL,
    [ROLE_CONSUMER] = "consumer",
    [ROLE_ADMIN] = "admin",
};

static enum token_role role_of(const char *name)
{
    if (name != NULL && strcmp(name, role_names[ROLE_ADMIN]) == 0)
        return ROLE_ADMIN;
    if (name != NULL && strcmp(name, role_names[ROLE_CONSUMER]) == 0)
        return ROLE_CONSUMER;
    return ROLE_NONE;
}

/* RFC 7515, 4.1.11: what a header calls critical must be understood, and we know no extension. */
static bool header_is_ours(jwt_t *jwt)
{
    const char *alg = jwt_get_header(jwt, "alg");
    bool is_hs256 = alg != NULL && strcmp(alg, "HS256") == 0 &&
                    (jwt_get_alg(jwt) == JWT_ALG_HS256 || FAULT(FAULT_TOKEN_UNSIGNED));
    char *critical = jwt_get_headers_json(jwt, "crit");
    bool ours = is_hs256 && critical == NULL && errno == EINVAL; /* EINVAL: there is none */
    free(critical);
    return ours;
}

static enum token_verdict read_claims(jwt_t *jwt, int64_t now_ms, struct identity *identity)
{
    int64_t expires_at_ms = 0;
    if (!header_is_ours(jwt))
        return TOKEN_MALFORMED;
    enum token_verdict verdict = check_times(jwt, now_ms, &expires_at_ms);
    if (verdict != TOKEN_OK)
        return verdict;
    const char *subject = jwt_get_grant(jwt, "sub");
    if (subject == NULL || !is_subject(subject))
        return TOKEN_MALFORMED;
    identity->role = role_of(jwt_get_grant(jwt, "role"));
    identity->expires_at_ms = expires_at_ms;
    memcpy(identity->subject, subject, strlen(subject) + 1);
    return TOKEN_OK;
}

static bool is_usable(const struct token_key *key)
{
    return key->len >= TOKEN_KEY_BYTES_MIN && key->len <= TOKEN_KEY_BYTES_MAX;
}

enum token_verdict token_verify(const struct token_key *key, struct slice token, int64_t now_ms,
                                struct identity *identity)
{
    MUST(key != NULL && identity != NULL, "token_verify() has a key and a place for the answer");
    char text[TOKEN_BYTES_MAX + 1];
    size_t signed_len = 0;
    *identity = (struct identity){.role = ROLE_NONE};
    if (token.data == NULL)
        return TOKEN_ABSENT;
    if (!is_usable(key))
        return TOKEN_UNCONFIGURED;
    if (!has_shape(token, &signed_len))
        return TOKEN_MALFORMED;
    if (!signature_matches(key, token, signed_len))
        return TOKEN_BAD_SIGNATURE;
    memcpy(text, token.data, token.len);
    text[token.len] = '\0';
    jwt_t *jwt = NULL;
    if (jwt_decode(&jwt, text, FAULT(FAULT_TOKEN_UNSIGNED) ? NULL : key->bytes,
                   FAULT(FAULT_TOKEN_UNSIGNED) ? 0 : (int)key->len) != 0)
        return TOKEN_MALFORMED;
    enum token_verdict verdict = read_claims(jwt, now_ms, identity);
    jwt_free(jwt);
    return verdict;
}

/* ---- minting ---- */

static bool add_claims(jwt_t *jwt, enum token_role role, const char *subject, int64_t now_s,
                       int64_t ttl_s)
{
    return jwt_add_grant(jwt, "sub", subject) == 0 &&
           (role == ROLE_NONE || jwt_add_grant(jwt, "role", role_names[role]) == 0) &&
           jwt_add_grant_int(jwt, "iat", (long)now_s) == 0 &&
           jwt_add_grant_int(jwt, "exp", (long)(now_s + ttl_s)) == 0;
}

bool token_mint(const struct token_key *key, enum token_role role, const char *subject,
                int64_t now_ms, int64_t ttl_s, char *out, size_t out_bytes)
{
    MUST(key != NULL && subject != NULL && out != NULL, "token_mint() has its arguments");
    if (!is_usable(key) || !is_subject(subject) || (unsigned)role > ROLE_ADMIN || ttl_s < 1 ||
        ttl_s > ttl_s_max || now_ms < 0 || now_ms > WALL_MS_MAX)
        return false;
    jwt_t *jwt = NULL;
    if (jwt_new(&jwt) != 0)
        return false;
    char *text = NULL;
    if (add_claims(jwt, role, subject, now_ms / 1000, ttl_s) &&
        jwt_set_alg(jwt, JWT_ALG_HS256, key->bytes, (int)key->len) == 0)
        text = jwt_encode_str(jwt);
    jwt_free(jwt);
    size_t len = text == NULL ? 0 : strlen(text);
    bool fits = len > 0 && len < out_bytes;
    if (fits)
        memcpy(out, text, len + 1);
    free(text);
    return fits;
}
