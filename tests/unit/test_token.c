/*
 * test_token.c: which tokens are accepted, where they are found, and whose payments are believed.
 *
 * Thread: one. Tokens are forged here with libsodium alone, header and claims as text, so that the
 * verifier is not tested against its own minting.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <jwt.h>
#include <sodium.h>

#include "net/token.h"

#define HEADER "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define NOW_MS INT64_C(1700000000000)

static struct token_key key;

static int make_key(void **state)
{
    (void)state;
    key.len = 32;
    for (size_t i = 0; i < key.len; i++)
        key.bytes[i] = (unsigned char)(i * 7); /* begins with NUL: the key is bytes, not text */
    return 0;
}

static struct slice slice_of(const char *text)
{
    return (struct slice){text, text == NULL ? 0 : strlen(text)};
}

static char *append_base64url(char *out, const void *bytes, size_t len)
{
    (void)sodium_bin2base64(
        out, sodium_base64_ENCODED_LEN(len, sodium_base64_VARIANT_URLSAFE_NO_PADDING), bytes, len,
        sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    return out + strlen(out);
}

/* HMAC-SHA256 by the book, over whatever header and claims say. Static buffer. */
static char *forge_with(const struct token_key *with, const char *header, const char *claims)
{
    static char token[16384];
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
    crypto_auth_hmacsha256_state hmac;
    char *end = append_base64url(token, header, strlen(header));
    *end++ = '.';
    end = append_base64url(end, claims, strlen(claims));
    (void)crypto_auth_hmacsha256_init(&hmac, with->bytes, with->len);
    (void)crypto_auth_hmacsha256_update(&hmac, (unsigned char *)token, (size_t)(end - token));
    (void)crypto_auth_hmacsha256_final(&hmac, mac);
    *end++ = '.';
    (void)append_base64url(end, mac, sizeof mac);
    return token;
}

static char *forge(const char *header, const char *claims)
{
    return forge_with(&key, header, claims);
}

/* A copy that ends where its bytes end, so that ASan sees who reads on. NULL stays NULL. */
static struct slice exact_copy(const char *text)
{
    struct slice given = slice_of(text);
    if (text == NULL)
        return given;
    char *copy = malloc(given.len == 0 ? 1 : given.len);
    assert_non_null(copy);
    memcpy(copy, text, given.len);
    return (struct slice){copy, given.len};
}

static void free_copy(struct slice copy)
{
    free((void *)(uintptr_t)copy.data);
}

static enum token_verdict verdict_on(const char *token)
{
    struct identity identity;
    struct slice copy = exact_copy(token);
    enum token_verdict verdict = token_verify(&key, copy, NOW_MS, &identity);
    free_copy(copy);
    if (verdict != TOKEN_OK) {
        assert_int_equal(identity.role, ROLE_NONE);
        assert_string_equal(identity.subject, "");
        assert_int_equal(identity.expires_at_ms, 0);
    }
    return verdict;
}

/* Properly signed, valid until 2033, with these claims besides. */
static enum token_verdict verdict_on_claims(const char *more)
{
    char claims[1024];
    (void)snprintf(claims, sizeof claims, "{\"exp\":2000000000%s}", more);
    return verdict_on(forge(HEADER, claims));
}

static enum token_verdict verdict_on_header(const char *header)
{
    return verdict_on(forge(header, "{\"exp\":2000000000,\"sub\":\"ann\"}"));
}

/* ---- verification ---- */

static void a_signed_token_says_who_asks(void **state)
{
    (void)state;
    static const struct {
        const char *claims;
        enum token_role role;
    } rows[] = {
        {"{\"exp\":2000000000,\"sub\":\"ann\",\"role\":\"admin\"}", ROLE_ADMIN},
        {"{\"exp\":2000000000,\"sub\":\"ann\",\"role\":\"consumer\"}", ROLE_CONSUMER},
        {"{\"exp\":2000000000,\"sub\":\"ann\"}", ROLE_NONE},
        {"{\"exp\":2000000000,\"sub\":\"ann\",\"role\":\"Admin\"}", ROLE_NONE},
        {"{\"exp\":2000000000,\"sub\":\"ann\",\"role\":\"\"}", ROLE_NONE},
        {"{\"exp\":2000000000,\"sub\":\"ann\",\"role\":[\"admin\"]}", ROLE_NONE},
        {"{\"exp\":2000000000,\"sub\":\"ann\",\"role\":null}", ROLE_NONE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct identity identity;
        struct slice token = slice_of(forge(HEADER, rows[i].claims));
        assert_int_equal(token_verify(&key, token, NOW_MS, &identity), TOKEN_OK);
        assert_int_equal(identity.role, rows[i].role);
        assert_string_equal(identity.subject, "ann");
        assert_true(identity.expires_at_ms == INT64_C(2000000000000));
    }
}

static void without_a_key_no_token_is_accepted(void **state)
{
    (void)state;
    static struct token_key none, weak;
    struct identity identity;
    const char *claims = "{\"exp\":2000000000,\"sub\":\"ann\"}";
    struct slice token = slice_of(forge_with(&none, HEADER, claims));
    assert_int_equal(token_verify(&none, token, NOW_MS, &identity), TOKEN_UNCONFIGURED);
    weak.len = TOKEN_KEY_BYTES_MIN - 1;
    token = slice_of(forge_with(&weak, HEADER, claims));
    assert_int_equal(token_verify(&weak, token, NOW_MS, &identity), TOKEN_UNCONFIGURED);
}

static void no_token_is_absent_and_an_empty_one_malformed(void **state)
{
    (void)state;
    assert_int_equal(verdict_on(NULL), TOKEN_ABSENT);
    assert_int_equal(verdict_on(""), TOKEN_MALFORMED);
}

static void another_key_or_a_changed_byte_is_a_bad_signature(void **state)
{
    (void)state;
    struct token_key other = key;
    other.bytes[31] ^= 1;
    const char *claims = "{\"exp\":2000000000,\"sub\":\"ann\"}";
    assert_int_equal(verdict_on(forge_with(&other, HEADER, claims)), TOKEN_BAD_SIGNATURE);
    char *token = forge(HEADER, claims);
    const size_t len = strlen(token);
    for (size_t i = 0; i < len; i++) {
        char kept = token[i];
        if (kept == '.')
            continue;
        token[i] = kept == 'A' ? 'B' : 'A';
        assert_int_equal(verdict_on(token), TOKEN_BAD_SIGNATURE);
        token[i] = kept;
    }
    assert_int_equal(verdict_on(token), TOKEN_OK);
}

static void a_signature_has_one_spelling_only(void **state)
{
    (void)state;
    char *token = forge(HEADER, "{\"exp\":2000000000,\"sub\":\"ann\"}");
    const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char *last = token + strlen(token) - 1;
    size_t accepted = 0;
    for (size_t i = 0; i < 64; i++) { /* the last character carries two unused bits */
        *last = alphabet[i];
        accepted += verdict_on(token) == TOKEN_OK;
    }
    assert_int_equal(accepted, 1);
}

static void any_algorithm_but_hs256_is_refused_though_the_hmac_matches(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "{\"alg\":\"none\"}",
        "{\"alg\":\"NONE\"}",
        "{\"alg\":\"HS384\",\"typ\":\"JWT\"}",
        "{\"alg\":\"HS512\",\"typ\":\"JWT\"}",
        "{\"alg\":\"RS256\",\"typ\":\"JWT\"}",
        "{\"alg\":\"ES256\",\"typ\":\"JWT\"}",
        "{\"alg\":\"hs256\",\"typ\":\"JWT\"}",
        "{\"alg\":\"\"}",
        "{\"alg\":null}",
        "{\"alg\":[\"HS256\"]}",
        "{\"typ\":\"JWT\"}",
        "{\"alg\":\"HS256\",\"typ\":\"JWE\"}",
        "{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}",
        "[]",
        "\"HS256\"",
        "{",
        "{}{\"alg\":\"HS256\"}",
        "\xff",
    };
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        if (verdict_on_header(headers[i]) != TOKEN_MALFORMED)
            fail_msg("%s: %s", headers[i], token_verdict_text(verdict_on_header(headers[i])));
    }
    assert_int_equal(verdict_on_header("{\"alg\":\"HS256\"}"), TOKEN_OK);
    assert_int_equal(verdict_on_header("{\"alg\":\"HS256\",\"typ\":\"jwt\",\"kid\":\"1\"}"),
                     TOKEN_OK);
}

/* libjwt itself makes these, so that the signature is right for the algorithm the header names. */
static void tokens_of_other_hmac_sizes_and_unsigned_ones_are_refused(void **state)
{
    (void)state;
    static const jwt_alg_t algorithms[] = {JWT_ALG_NONE, JWT_ALG_HS384, JWT_ALG_HS512};
    for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++) {
        jwt_t *jwt = NULL;
        bool is_signed = algorithms[i] != JWT_ALG_NONE;
        assert_int_equal(jwt_new(&jwt), 0);
        assert_int_equal(jwt_add_grant(jwt, "sub", "ann"), 0);
        assert_int_equal(jwt_add_grant_int(jwt, "exp", 2000000000), 0);
        assert_int_equal(jwt_set_alg(jwt, algorithms[i], is_signed ? key.bytes : NULL,
                                     is_signed ? (int)key.len : 0),
                         0);
        char *token = jwt_encode_str(jwt);
        assert_non_null(token);
        assert_int_equal(verdict_on(token), TOKEN_MALFORMED);
        free(token);
        jwt_free(jwt);
    }
}

static void what_is_not_three_segments_of_the_alphabet_is_malformed(void **state)
{
    (void)state;
    static const char sig[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    static const char *const shapes[] = {
        ".",       "..",      "...",       "a",        "a.b",           "a.b.",
        "a.b.c",   ".b.%s",   "a..%s",     "..%s",     "a.b.c.%s",      "a.b.%s.",
        "a.b.%sA", "a.b.%s=", "a+.b.%s",   "a/.b.%s",  "a=.b.%s",       "a .b.%s",
        " a.b.%s", "a.b.%s ", "a%%2eb.%s", "a.b\n.%s", "a.\xc3\xa9.%s",
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const char *mark = strstr(shapes[i], "%s");
        char token[128];
        if (mark == NULL)
            (void)snprintf(token, sizeof token, "%s", shapes[i]);
        else
            (void)snprintf(token, sizeof token, "%.*s%s%s", (int)(mark - shapes[i]), shapes[i], sig,
                           mark + 2);
        if (verdict_on(token) != TOKEN_MALFORMED)
            fail_msg("%s: %s", token, token_verdict_text(verdict_on(token)));
    }
    char shaped[64];
    (void)snprintf(shaped, sizeof shaped, "a.b.%s", sig);
    assert_int_equal(verdict_on(shaped), TOKEN_BAD_SIGNATURE);
    struct identity identity;
    assert_int_equal(token_verify(&key, (struct slice){"a\0.b.c", 6}, NOW_MS, &identity),
                     TOKEN_MALFORMED);
}

static void a_token_longer_than_4096_bytes_is_malformed(void **state)
{
    (void)state;
    static char claims[8192];
    size_t shortest_refused = 0;
    for (size_t pad = 2800; pad < 3200 && shortest_refused == 0; pad++) {
        (void)snprintf(claims, sizeof claims, "{\"exp\":2000000000,\"sub\":\"ann\",\"x\":\"%0*d\"}",
                       (int)pad, 0);
        const char *token = forge(HEADER, claims);
        if (verdict_on(token) == TOKEN_OK)
            assert_true(strlen(token) <= TOKEN_BYTES_MAX);
        else
            shortest_refused = strlen(token);
    }
    assert_in_range(shortest_refused, TOKEN_BYTES_MAX + 1, TOKEN_BYTES_MAX + 2);
}

static void claims_that_are_not_an_object_are_refused(void **state)
{
    (void)state;
    static const char *const bodies[] = {"x", "{", "{\"exp\":}", "\"exp\"", "7", "\xff\xfe"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        assert_int_equal(verdict_on(forge(HEADER, bodies[i])), TOKEN_MALFORMED);
    assert_int_equal(verdict_on(forge(HEADER, "[]")), TOKEN_NO_EXPIRY);
    assert_int_equal(verdict_on(forge(HEADER, "{}")), TOKEN_NO_EXPIRY);
}

static void deep_nesting_is_refused_without_harm(void **state)
{
    (void)state;
    char claims[3000];
    memset(claims, '[', sizeof claims - 1);
    claims[sizeof claims - 1] = '\0';
    assert_int_equal(verdict_on(forge(HEADER, claims)), TOKEN_MALFORMED);
}

static void exp_is_required_and_is_a_number(void **state)
{
    (void)state;
    static const char *const values[] = {"\"2000000000\"", "null", "true", "[]", "{}", "\"\""};
    assert_int_equal(verdict_on(forge(HEADER, "{\"sub\":\"ann\"}")), TOKEN_NO_EXPIRY);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char claims[128];
        (void)snprintf(claims, sizeof claims, "{\"sub\":\"ann\",\"exp\":%s}", values[i]);
        assert_int_equal(verdict_on(forge(HEADER, claims)), TOKEN_NO_EXPIRY);
    }
}

static void a_token_is_dead_from_the_millisecond_of_exp_on(void **state)
{
    (void)state;
    static const struct {
        const char *exp;
        int64_t expires_at_ms;
    } rows[] = {
        {"1700000000", INT64_C(1700000000000)},
        {"1700000000.5", INT64_C(1700000000500)},
        {"1.7e9", INT64_C(1700000000000)},
        {"1", 1000},
        {"9223372036854775807", INT64_C(9000000000000000)},
        {"1e300", INT64_C(9000000000000000)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char claims[128];
        struct identity identity;
        (void)snprintf(claims, sizeof claims, "{\"sub\":\"ann\",\"exp\":%s}", rows[i].exp);
        struct slice token = slice_of(forge(HEADER, claims));
        int64_t dead_ms = rows[i].expires_at_ms;
        assert_int_equal(token_verify(&key, token, dead_ms - 1, &identity), TOKEN_OK);
        assert_true(identity.expires_at_ms == dead_ms);
        assert_int_equal(token_verify(&key, token, dead_ms, &identity), TOKEN_EXPIRED);
        assert_int_equal(token_verify(&key, token, INT64_MAX, &identity), TOKEN_EXPIRED);
    }
    assert_int_equal(verdict_on(forge(HEADER, "{\"sub\":\"ann\",\"exp\":0}")), TOKEN_EXPIRED);
    assert_int_equal(verdict_on(forge(HEADER, "{\"sub\":\"ann\",\"exp\":-1e300}")), TOKEN_EXPIRED);
    assert_int_equal(verdict_on(forge(HEADER, "{\"sub\":\"ann\",\"exp\":1e999}")), TOKEN_MALFORMED);
}

static void nbf_is_honoured_if_present(void **state)
{
    (void)state;
    assert_int_equal(verdict_on_claims(",\"sub\":\"ann\",\"nbf\":1700000000"), TOKEN_OK);
    assert_int_equal(verdict_on_claims(",\"sub\":\"ann\",\"nbf\":1700000001"), TOKEN_NOT_YET);
    assert_int_equal(verdict_on_claims(",\"sub\":\"ann\",\"nbf\":-5"), TOKEN_OK);
    assert_int_equal(verdict_on_claims(",\"sub\":\"ann\",\"nbf\":\"0\""), TOKEN_MALFORMED);
    assert_int_equal(verdict_on_claims(",\"sub\":\"ann\",\"nbf\":null"), TOKEN_MALFORMED);
}

static void sub_is_one_to_64_bytes_without_control_characters(void **state)
{
    (void)state;
    char longest[80];
    (void)snprintf(longest, sizeof longest, ",\"sub\":\"%064d\"", 0);
    assert_int_equal(verdict_on_claims(longest), TOKEN_OK);
    (void)snprintf(longest, sizeof longest, ",\"sub\":\"%065d\"", 0);
    assert_int_equal(verdict_on_claims(longest), TOKEN_MALFORMED);
    assert_int_equal(verdict_on_claims(",\"sub\":\"J\xc3\xbcrgen M.\""), TOKEN_OK);
    static const char *const bad[] = {
        "",
        ",\"sub\":\"\"",
        ",\"sub\":7",
        ",\"sub\":null",
        ",\"sub\":[\"ann\"]",
        ",\"sub\":\"a\\nb\"",
        ",\"sub\":\"a\\u0000b\"",
        ",\"sub\":\"a\x7fz\"",
        ",\"sub\":\"a\xc2\x85z\"",
        ",\"sub\":\"a\\u0080\"",
        ",\"sub\":\"\xc3\"",
        ",\"sub\":\"\\ud800\"",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (verdict_on_claims(bad[i]) != TOKEN_MALFORMED)
            fail_msg("%s was not refused", bad[i]);
    }
}

static void of_duplicate_claims_the_last_counts(void **state)
{
    (void)state;
    struct identity identity;
    struct slice token =
        slice_of(forge(HEADER, "{\"exp\":1,\"exp\":2000000000,\"sub\":\"a\",\"sub\":\"b\"}"));
    assert_int_equal(token_verify(&key, token, NOW_MS, &identity), TOKEN_OK);
    assert_string_equal(identity.subject, "b");
}

static void each_verdict_has_a_sentence(void **state)
{
    (void)state;
    for (int verdict = TOKEN_OK; verdict <= TOKEN_NOT_YET; verdict++) {
        const char *text = token_verdict_text((enum token_verdict)verdict);
        assert_non_null(text);
        assert_int_equal(text[strlen(text) - 1], '.');
    }
}

/* ---- minting ---- */

static void a_minted_token_is_accepted_until_it_expires(void **state)
{
    (void)state;
    static const enum token_role roles[] = {ROLE_NONE, ROLE_CONSUMER, ROLE_ADMIN};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        char token[512];
        struct identity identity;
        assert_true(
            token_mint(&key, roles[i], "J\xc3\xbcrgen", NOW_MS + 999, 60, token, sizeof token));
        struct slice minted = slice_of(token);
        assert_int_equal(token_verify(&key, minted, NOW_MS, &identity), TOKEN_OK);
        assert_int_equal(identity.role, roles[i]);
        assert_string_equal(identity.subject, "J\xc3\xbcrgen");
        assert_true(identity.expires_at_ms == NOW_MS + 60000);
        assert_int_equal(token_verify(&key, minted, NOW_MS + 60000, &identity), TOKEN_EXPIRED);
    }
}

static void minting_refuses_what_verification_would(void **state)
{
    (void)state;
    char token[512], subject[80];
    static struct token_key none;
    assert_false(token_mint(&none, ROLE_ADMIN, "ann", NOW_MS, 60, token, sizeof token));
    assert_false(token_mint(&key, ROLE_ADMIN, "", NOW_MS, 60, token, sizeof token));
    assert_false(token_mint(&key, ROLE_ADMIN, "a\nb", NOW_MS, 60, token, sizeof token));
    assert_false(token_mint(&key, ROLE_ADMIN, "\xff", NOW_MS, 60, token, sizeof token));
    (void)snprintf(subject, sizeof subject, "%065d", 0);
    assert_false(token_mint(&key, ROLE_ADMIN, subject, NOW_MS, 60, token, sizeof token));
    assert_false(token_mint(&key, ROLE_ADMIN, "ann", NOW_MS, 0, token, sizeof token));
    assert_false(token_mint(&key, ROLE_ADMIN, "ann", NOW_MS, -1, token, sizeof token));
    assert_false(token_mint(&key, ROLE_ADMIN, "ann", NOW_MS, INT64_MAX, token, sizeof token));
    assert_false(token_mint(&key, ROLE_ADMIN, "ann", -1, 60, token, sizeof token));
    assert_false(token_mint(&key, ROLE_ADMIN, "ann", INT64_MAX, 60, token, sizeof token));
}

static void minting_fits_the_buffer_or_refuses(void **state)
{
    (void)state;
    char token[512];
    assert_true(token_mint(&key, ROLE_ADMIN, "ann", NOW_MS, 60, token, sizeof token));
    const size_t len = strlen(token);
    assert_true(token_mint(&key, ROLE_ADMIN, "ann", NOW_MS, 60, token, len + 1));
    assert_int_equal(strlen(token), len);
    assert_false(token_mint(&key, ROLE_ADMIN, "ann", NOW_MS, 60, token, len));
    assert_false(token_mint(&key, ROLE_ADMIN, "ann", NOW_MS, 60, token, 0));
}

/* ---- where a token is found ---- */

static void expect_found(const char *authorization, const char *cookie, const char *query,
                         const char *expected)
{
    struct http_request request = {.authorization = exact_copy(authorization),
                                   .cookie = exact_copy(cookie),
                                   .query = exact_copy(query)};
    struct slice token = token_of_request(&request);
    bool same = expected == NULL ? token.data == NULL
                                 : token.data != NULL && token.len == strlen(expected) &&
                                       memcmp(token.data, expected, token.len) == 0;
    if (!same)
        fail_msg("authorization \"%s\" cookie \"%s\" query \"%s\": found \"%.*s\"",
                 authorization == NULL ? "" : authorization, cookie == NULL ? "" : cookie,
                 query == NULL ? "" : query, (int)token.len, token.data == NULL ? "" : token.data);
    free_copy(request.authorization);
    free_copy(request.cookie);
    free_copy(request.query);
}

static void the_header_wins_over_the_cookie_and_the_cookie_over_the_query(void **state)
{
    (void)state;
    expect_found("Bearer H", "flashd_token=C", "token=Q", "H");
    expect_found(NULL, "flashd_token=C", "token=Q", "C");
    expect_found(NULL, NULL, "token=Q", "Q");
    expect_found(NULL, NULL, NULL, NULL);
}

static void the_bearer_scheme_is_found_in_any_letter_case(void **state)
{
    (void)state;
    expect_found("bearer H", NULL, NULL, "H");
    expect_found("BEARER \t H  ", NULL, NULL, "H");
    expect_found("Bearer", NULL, "token=Q", "");
    expect_found("Bearer ", NULL, "token=Q", "");
    expect_found("Bearer a b", NULL, NULL, "a b"); /* refused by token_verify() */
}

static void another_scheme_does_not_hide_the_cookie_or_the_query(void **state)
{
    (void)state;
    expect_found("Basic dXNlcjpwdw==", "flashd_token=C", NULL, "C");
    expect_found("Basic dXNlcjpwdw==", NULL, "token=Q", "Q");
    expect_found("BearerH", NULL, "token=Q", "Q");
    expect_found("Bear", NULL, NULL, NULL);
    expect_found("", NULL, "token=Q", "Q");
}

static void the_cookie_is_found_by_its_exact_name(void **state)
{
    (void)state;
    expect_found(NULL, "a=1; flashd_token=C; b=2", NULL, "C");
    expect_found(NULL, "a=1;flashd_token=C", NULL, "C");
    expect_found(NULL, "flashd_token=\"C\"", NULL, "C");
    expect_found(NULL, "flashd_token=C ;x=y", NULL, "C");
    expect_found(NULL, "flashd_token=first; flashd_token=second", NULL, "first");
    expect_found(NULL, "flashd_token=\"", NULL, "\"");
    expect_found(NULL, "flashd_token=a=b", NULL, "a=b");
    static const char *const without[] = {
        "xflashd_token=C",   "flashd_tokens=C", "Flashd_Token=C",   "flashd_token", "flashd_token=",
        "flashd_token=\"\"", "flashd_token =C", "a=flashd_token=C", ";;;",          "",
    };
    for (size_t i = 0; i < sizeof without / sizeof without[0]; i++) {
        expect_found(NULL, without[i], NULL, NULL);
        expect_found(NULL, without[i], "token=Q", "Q");
    }
}

static void the_query_is_searched_for_the_whole_key_token(void **state)
{
    (void)state;
    expect_found(NULL, NULL, "saleId=1&token=Q&x=y", "Q");
    expect_found(NULL, NULL, "token=Q&token=R", "Q");
    expect_found(NULL, NULL, "token=a%2Eb", "a%2Eb"); /* refused by token_verify() */
    static const char *const without[] = {"atoken=Q", "tokens=Q",  "Token=Q", "token",
                                          "token=",   "x=token=Q", "&&",      ""};
    for (size_t i = 0; i < sizeof without / sizeof without[0]; i++)
        expect_found(NULL, NULL, without[i], NULL);
}

/* ---- payment signatures ---- */

static bool signature_ok(const char *secret, const char *body, const char *header)
{
    struct token_key payment = {.len = strlen(secret)};
    memcpy(payment.bytes, secret, payment.len);
    return payment_signature_ok(&payment, slice_of(body), slice_of(header));
}

/* RFC 4231, test cases 2 and 6 (a key longer than a block). */
static void a_payment_signed_by_the_provider_is_believed(void **state)
{
    (void)state;
    const char *jefe = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_true(signature_ok("Jefe", "what do ya want for nothing?", jefe));
    assert_true(
        signature_ok("Jefe", "what do ya want for nothing?",
                     "SHA256=5BDCC146bf60754e6a042426089575c75a003f089d2739839dec58b964EC3843"));
    char long_key[132];
    memset(long_key, 0xaa, 131);
    long_key[131] = '\0';
    assert_true(
        signature_ok(long_key, "Test Using Larger Than Block-Size Key - Hash Key First",
                     "sha256=60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"));
    const char *of_nothing =
        "sha256=923598ca6d64af2a5dba79dcd021a8a0fe5c5f557519adaaf0ad532d4506dd30";
    assert_true(signature_ok("Jefe", "", of_nothing));
    assert_true(signature_ok("Jefe", NULL, of_nothing));
}

static void a_wrong_or_misspelt_payment_signature_is_not(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3842",
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec384",
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec38433",
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec384g",
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec38 3",
        "sha512=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        "sha256=",
        "",
        NULL,
    };
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        assert_false(signature_ok("Jefe", "what do ya want for nothing?", headers[i]));
    const char *right = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_false(signature_ok("Jefe", "what do ya want for nothing!", right));
    assert_false(signature_ok("jefe", "what do ya want for nothing?", right));
}

static void without_a_payment_key_nothing_is_believed(void **state)
{
    (void)state;
    /* The HMAC of "" under the empty key. */
    assert_false(signature_ok(
        "", "", "sha256=b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signed_token_says_who_asks),
        cmocka_unit_test(without_a_key_no_token_is_accepted),
        cmocka_unit_test(no_token_is_absent_and_an_empty_one_malformed),
        cmocka_unit_test(another_key_or_a_changed_byte_is_a_bad_signature),
        cmocka_unit_test(a_signature_has_one_spelling_only),
        cmocka_unit_test(any_algorithm_but_hs256_is_refused_though_the_hmac_matches),
        cmocka_unit_test(tokens_of_other_hmac_sizes_and_unsigned_ones_are_refused),
        cmocka_unit_test(what_is_not_three_segments_of_the_alphabet_is_malformed),
        cmocka_unit_test(a_token_longer_than_4096_bytes_is_malformed),
        cmocka_unit_test(claims_that_are_not_an_object_are_refused),
        cmocka_unit_test(deep_nesting_is_refused_without_harm),
        cmocka_unit_test(exp_is_required_and_is_a_number),
        cmocka_unit_test(a_token_is_dead_from_the_millisecond_of_exp_on),
        cmocka_unit_test(nbf_is_honoured_if_present),
        cmocka_unit_test(sub_is_one_to_64_bytes_without_control_characters),
        cmocka_unit_test(of_duplicate_claims_the_last_counts),
        cmocka_unit_test(each_verdict_has_a_sentence),
        cmocka_unit_test(a_minted_token_is_accepted_until_it_expires),
        cmocka_unit_test(minting_refuses_what_verification_would),
        cmocka_unit_test(minting_fits_the_buffer_or_refuses),
        cmocka_unit_test(the_header_wins_over_the_cookie_and_the_cookie_over_the_query),
        cmocka_unit_test(the_bearer_scheme_is_found_in_any_letter_case),
        cmocka_unit_test(another_scheme_does_not_hide_the_cookie_or_the_query),
        cmocka_unit_test(the_cookie_is_found_by_its_exact_name),
        cmocka_unit_test(the_query_is_searched_for_the_whole_key_token),
        cmocka_unit_test(a_payment_signed_by_the_provider_is_believed),
        cmocka_unit_test(a_wrong_or_misspelt_payment_signature_is_not),
        cmocka_unit_test(without_a_payment_key_nothing_is_believed),
    };
    return cmocka_run_group_tests_name("token", tests, make_key, NULL);
}
