/*
 * loop.h: the client side of many connections on one io_uring: connect, send a request, receive the answer.
 *
 * One system call a round: submit and wait. A send has no completion unless it fails, one multishot
 * receive per connection hands over buffers of a shared ring, and llhttp finds where answers begin and end
 * (also chunked ones). So a request costs one submission and one completion.
 *
 * A link is CLOSED, CONNECTING, OPEN or CLOSING; moves:
 *
 *   CLOSED --link_connect--> CONNECTING --> OPEN --link_close, or the server's--> CLOSING --> CLOSED
 *
 * on_closed tells the owner of the last step, after the link's connect and receive have completed: from then on it
 * may connect the link again.
 *
 * Thread: the one that called loop_open(); it is the ring's single issuer. Fails: loop_open() with a line.
 */
#ifndef FLASHLOAD_LOOP_H
#define FLASHLOAD_LOOP_H

#include <liburing.h>
#include <llhttp.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    LOOP_BUFFERS = 1024, /* a power of two */
    LOOP_BUFFER_BYTES = 8192,
    REQUEST_BYTES_MAX = 2048,
};

enum link_state { LINK_CLOSED, LINK_CONNECTING, LINK_OPEN, LINK_CLOSING };

struct loop;

struct link {
    llhttp_t parser;
    struct loop *loop;
    uint32_t index;
    uint32_t life : 24; /* how often it was connected, modulo 2^24 */
    uint8_t state;      /* enum link_state */
    uint8_t pending;    /* completions to come: connect, receive */
    int fd;
    int error; /* errno of why it closed; 0: the server closed it, or we did */
    uint32_t request_bytes;
    char request[REQUEST_BYTES_MAX]; /* untouched while an answer is awaited */
};

/* Calls to the owner of the links; `self` is the owner's. */
struct loop_owner {
    void *self;
    void (*on_open)(void *self, struct link *link);
    /* A piece of an answer's body; the status is link->parser.status_code. */
    void (*on_body)(void *self, struct link *link, const char *bytes, size_t len);
    void (*on_answer)(void *self, struct link *link); /* one answer is whole */
    void (*on_closed)(void *self, struct link *link);
};

struct address {
    struct sockaddr_storage at;
    socklen_t bytes;
};

struct loop {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    char *buffer_memory;
    struct loop_owner owner;
    struct address address;
    struct link *links; /* owned */
    uint32_t link_count;
    uint64_t now_ns; /* of this round's completions */
    llhttp_settings_t settings;
};

bool loop_open(struct loop *loop, uint32_t links, const struct address *address,
               const struct loop_owner *owner, char *error, size_t error_bytes);
void loop_close(struct loop *loop);

/* A CLOSED link begins to connect; on_open or on_closed follows. */
void link_connect(struct link *link);
/* Sends link->request of an OPEN link. */
void link_send(struct link *link);
/* on_closed follows. */
void link_close(struct link *link);

/* Submits, waits until a completion or wait_ns have passed, handles what has come. */
void loop_round(struct loop *loop, uint64_t wait_ns);

#endif
