/*
 * request.c: fuzz target: bytes that a client sends on one connection (see fuzz.h).
 *
 * Must hold for any bytes:
 *   - cut into any pieces, with short sends and a slow engine, they get the same answer, byte for
 *     byte, and open the same stream, as when they come at once
 *   - a head with two lengths for one body is refused, and nothing after it is answered
 *   - there are no more answers than request lines, plus one for what is no request
 *   - every answer is well formed; after the client's end nothing is left open or unanswered
 *   - memory agrees with what was made durable (front.c compares after each change)
 *
 * Thread: libFuzzer's one.
 */
#include <string.h>
#include <strings.h>

#include "tests/fuzz/front.h"
#include "tests/fuzz/fuzz.h"

static bool same_stream(const struct front *a, const struct front *b)
{
    const struct subscription *x = &a->subscription, *y = &b->subscription;
    if (a->handed_over != b->handed_over)
        return false;
    return !a->handed_over ||
           (x->kind == y->kind && x->resume == y->resume && x->after_seq == y->after_seq &&
            x->kinds == y->kinds && (x->sale == NULL) == (y->sale == NULL) &&
            x->expires_at_ms == y->expires_at_ms && x->user_bytes == y->user_bytes &&
            memcmp(x->user, y->user, x->user_bytes) == 0);
}

/* How often word occurs in text, in any letter case. */
static unsigned occurrences(struct slice text, const char *word)
{
    size_t len = strlen(word);
    unsigned count = 0;
    for (size_t i = 0; i + len <= text.len; i++)
        count += strncasecmp(text.data + i, word, len) == 0;
    return count;
}

static bool has_two_lengths(struct slice bytes)
{
    const char *end = bytes.len > 0 ? memmem(bytes.data, bytes.len, "\r\n\r\n", 4) : NULL;
    struct slice head = {bytes.data, end != NULL ? (size_t)(end - bytes.data) : 0};
    return occurrences(head, "\r\ncontent-length:") + occurrences(head, "\r\ntransfer-encoding:") >
           1;
}

/* Refused by the parser, before anybody has looked at path or body. */
static bool is_refused_at_the_door(const struct answer *answer)
{
    static const char *const codes[] = {"\"bad-request\"",
                                        "\"headers-too-large\"",
                                        "\"uri-too-long\"",
                                        "\"not-implemented\"",
                                        "\"expectation-failed\"",
                                        "\"payload-too-large\"",
                                        "\"http-version-not-supported\""};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (occurrences(answer->body, codes[i]) == 1)
            return true;
    return false;
}

static void check_answers(struct slice asked, struct slice said)
{
    unsigned answers = 0;
    bool refused = false;
    struct answer answer;
    for (; front_next_answer(&said, &answer); answers++) {
        HOLDS(answer.status >= 200, "interim answers are not final ones");
        refused = is_refused_at_the_door(&answer);
        HOLDS(!refused || said.len == 0, "after what is no request nothing is answered");
    }
    HOLDS(answers <= occurrences(asked, " HTTP/1.") + 1, "one answer a request");
    if (has_two_lengths(asked))
        HOLDS(answers == 1 && refused, "two lengths of one body are refused");
}

static void show(const char *name, const struct front *f)
{
    fprintf(stderr, "--- %s%s\n%.*s\n", name, f->handed_over ? " (a stream)" : "", (int)f->said_len,
            f->said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct front whole, pieces;
    if (whole.net.server == NULL) {
        front_open(&whole);
        front_open(&pieces);
    }
    if (size >= FRONT_INPUT_BYTES_MAX)
        return 0;
    struct random dice = random_of(data, size);
    front_talk(&whole, (const char *)data, size, NULL);
    front_talk(&pieces, (const char *)data, size, &dice);
    front_normalise(&whole);
    front_normalise(&pieces);
    bool same = whole.said_len == pieces.said_len &&
                (whole.said_len == 0 || memcmp(whole.said, pieces.said, whole.said_len) == 0) &&
                same_stream(&whole, &pieces);
    if (!same) {
        show("at once", &whole);
        show("in pieces", &pieces);
    }
    HOLDS(same, "how bytes are cut changes nothing");
    check_answers((struct slice){(const char *)data, size},
                  (struct slice){whole.said, whole.said_len});
    return 0;
}
