/*
 * token.h: who is asking. JWTs signed with HS256 (libjwt), and HMAC signatures of payments
 * (libsodium).
 *
 * Thread: any; a struct token_key is read-only after start. Nothing is kept between calls.
 * In:     the token's text, or a request's header, cookie and query.
 * Out:    a struct identity, or an enum token_verdict that refuses, with its sentence.
 * Fails:  only by refusing. Out of memory reads as TOKEN_MALFORMED.
 *
 * The signature is checked before anything is decoded: a token made without the key never reaches a JSON
 * parser.
 */
#ifndef FLASHD_NET_TOKEN_H
#define FLASHD_NET_TOKEN_H

#include "net/http.h"

enum {
    TOKEN_KEY_BYTES_MIN = 32, /* RFC 7518, 3.2: as long as the hash, or longer */
    TOKEN_KEY_BYTES_MAX = 1024,
    TOKEN_SUBJECT_BYTES_MAX = 64,
    TOKEN_BYTES_MAX = 4096, /* a longer token is malformed */
};

/* An HMAC key; len 0 means that none is configured. Contents are secret: never logged. */
struct token_key {
    size_t len;
    unsigned char bytes[TOKEN_KEY_BYTES_MAX];
};

enum token_role { ROLE_NONE, ROLE_CONSUMER, ROLE_ADMIN };

struct identity {
    enum token_role role;
    int64_t expires_at_ms;                     /* wall clock, from exp */
    char subject[TOKEN_SUBJECT_BYTES_MAX + 1]; /* UTF-8 without control characters */
};

enum token_verdict {
    TOKEN_OK,
    TOKEN_ABSENT,
    TOKEN_UNCONFIGURED, /* the server has no key, or one shorter than TOKEN_KEY_BYTES_MIN */
    TOKEN_MALFORMED,    /* not a JWT, or its alg, crit, nbf or sub is not acceptable */
    TOKEN_BAD_SIGNATURE,
    TOKEN_EXPIRED,
    TOKEN_NO_EXPIRY, /* exp is required, and must be a number */
    TOKEN_NOT_YET,   /* nbf lies in the future */
};

/* One sentence for a problem's detail; static. */
const char *token_verdict_text(enum token_verdict verdict);

/* Finds the token: Authorization: Bearer, else cookie flashd_token, else query ?token=. Absent:
 * data NULL. An empty cookie or query value counts as absent, "Bearer" with nothing after it does
 * not. */
struct slice token_of_request(const struct http_request *request);

/* now_ms: wall clock. Accepts alg HS256 only, whatever the header says; nbf is honoured if present.
 * identity is filled on TOKEN_OK only, else zeroed. */
enum token_verdict token_verify(const struct token_key *key, struct slice token, int64_t now_ms,
                                struct identity *identity);

/* Writes a NUL-terminated JWT into out; false if it does not fit or the arguments are out of range:
 * a key that token_verify() would not use, a subject it would refuse, ttl_s below 1 or beyond 100
 * years. */
bool token_mint(const struct token_key *key, enum token_role role, const char *subject,
                int64_t now_ms, int64_t ttl_s, char *out, size_t out_bytes);

/* header is "sha256=<64 hex digits>", any letter case; compared in constant time. False without a
 * key. */
bool payment_signature_ok(const struct token_key *key, struct slice body, struct slice header);

#endif
