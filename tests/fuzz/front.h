/*
 * front.h: a net thread and an engine without a kernel: bytes in, answers out, on one thread.
 *
 * Everything between the socket and the store is the product's: connection, parser, router,
 * handlers, port, workers, clock, journal. Instead of the kernel, front.c takes what net/ puts into
 * its submission queue and makes the completions, in any order and size that a kernel may choose.
 * Time stands still and ids come from a fixed hash, so two fronts that receive the same bytes send
 * the same bytes: the targets rely on that.
 *
 * Usage:  front_open(&front);  front_talk(&front, bytes, len, &dice);  … front.said …
 *
 * It begins with three sales (front_open()). A talk that changed something is followed by a new
 * beginning, so that every talk is a function of its bytes.
 *
 * Thread: one.
 */
#ifndef FLASHD_TESTS_FUZZ_FRONT_H
#define FLASHD_TESTS_FUZZ_FRONT_H

#include "net/net.h"
#include "net/stream.h"
#include "tests/support/random.h"
#include "tests/support/rig.h"

enum { FRONT_SQES = 64, FRONT_INPUT_BYTES_MAX = RECV_BUFFERS * RECV_BUFFER_BYTES };

struct front {
    struct rig rig;
    struct token_key jwt_key, payment_key; /* payment_key is empty */
    struct broadcaster broadcaster;        /* its inbox only: nobody reads the streams */
    struct server server;
    struct net net;
    uint64_t born_seq; /* what the beginning logged */
    /* --- in the place of the kernel --- */
    struct io_uring_sqe sqes[FRONT_SQES];
    unsigned sq_head;
    bool recv_armed, recv_cancelled, sending;
    uint64_t recv_data, send_data;
    const char *send_bytes;
    size_t send_len;
    /* --- of the last talk --- */
    char *said; /* everything that was sent to the client */
    size_t said_len, said_room;
    bool handed_over; /* the connection became a stream: */
    struct subscription subscription;
};

void front_open(struct front *front);
/* One connection from its first byte to its end. dice NULL: all bytes come at once and every send
 * is whole; else as the dice fall. */
void front_talk(struct front *front, const char *bytes, size_t len, struct random *dice);
/* An admin's token that does not expire here; NUL-terminated. */
const char *front_admin_token(const struct front *front);

/* ---- what was said ---- */

/* Removes the interim answers (100) and "Connection: close": both depend on when bytes come. */
void front_normalise(struct front *front);
struct answer {
    unsigned status;
    struct slice head, body; /* body: data NULL when there is none (HEAD) */
};
/* Cuts the next answer off *rest; false when nothing is left. Ends the run if it is not well formed:
 * status line, fields, Content-Length, JSON where it says JSON, a problem's status. */
bool front_next_answer(struct slice *rest, struct answer *answer);

#endif
