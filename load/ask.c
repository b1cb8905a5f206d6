/*
 * ask.c: see ask.h. Each request has a connection of its own.
 *
 * Thread: main.
 */
#include "load/ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ANSWER_PATIENCE_S = 10, REPLY_BYTES_MAX = 256 << 20 };

struct hearing {
    llhttp_t parser;
    struct reply *reply;
    size_t room;
    bool whole;
};

static int heard_body(llhttp_t *parser, const char *bytes, size_t len)
{
    struct hearing *h = parser->data;
    struct reply *reply = h->reply;
    size_t wanted = reply->body_bytes + len + 1;
    if (wanted > REPLY_BYTES_MAX)
        return -1;
    if (wanted > h->room) {
        char *grown = realloc(reply->body, wanted * 2);
        if (grown == NULL)
            return -1;
        reply->body = grown;
        h->room = wanted * 2;
    }
    memcpy(reply->body + reply->body_bytes, bytes, len);
    reply->body_bytes += len;
    reply->body[reply->body_bytes] = '\0';
    return 0;
}

static int heard_all(llhttp_t *parser)
{
    struct hearing *h = parser->data;
    h->whole = true;
    return 0;
}

static bool explain(char *error, size_t error_bytes, const char *what)
{
    (void)snprintf(error, error_bytes, "%s: %s", what,
                   errno == EAGAIN ? "no answer in time"
                   : errno != 0    ? strerror(errno)
                                   : "the connection ended");
    return false;
}

static bool send_request(int fd, const struct site *site, const char *method, const char *path,
                         const char *body)
{
    char head[REQUEST_BYTES_MAX];
    bool token = site->token[0] != '\0';
    size_t body_bytes = body != NULL ? strlen(body) : 0;
    int bytes =
        snprintf(head, sizeof head,
                 "%s %s%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s%s%s%s"
                 "Content-Length: %zu\r\n\r\n",
                 method, site->prefix, path, site->host, token ? "Authorization: Bearer " : "",
                 token ? site->token : "", token ? "\r\n" : "",
                 body != NULL ? "Content-Type: application/json\r\n" : "", body_bytes);
    if (bytes >= (int)sizeof head) {
        errno = EMSGSIZE;
        return false;
    }
    return send(fd, head, (size_t)bytes, MSG_NOSIGNAL) == bytes &&
           (body_bytes == 0 || send(fd, body, body_bytes, MSG_NOSIGNAL) == (ssize_t)body_bytes);
}

static bool hear(int fd, struct hearing *h)
{
    llhttp_settings_t settings;
    char buffer[16384];
    llhttp_settings_init(&settings);
    settings.on_body = heard_body;
    settings.on_message_complete = heard_all;
    llhttp_init(&h->parser, HTTP_RESPONSE, &settings);
    h->parser.data = h;
    while (!h->whole) {
        ssize_t n = recv(fd, buffer, sizeof buffer, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n < 0 ? errno : 0;
            (void)llhttp_finish(&h->parser);
            return h->whole;
        }
        if (llhttp_execute(&h->parser, buffer, (size_t)n) != HPE_OK && !h->whole) {
            errno = EPROTO;
            return false;
        }
    }
    return true;
}

bool ask(const struct site *site, const char *method, const char *path, const char *body,
         struct reply *reply, char *error, size_t error_bytes)
{
    *reply = (struct reply){0};
    int fd = socket(site->address.at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return explain(error, error_bytes, "a socket");
    const struct timeval patience = {ANSWER_PATIENCE_S, 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    struct hearing h = {.reply = reply};
    errno = 0;
    bool good = connect(fd, (const struct sockaddr *)&site->address.at, site->address.bytes) == 0 &&
                send_request(fd, site, method, path, body) && hear(fd, &h);
    if (!good) {
        (void)explain(error, error_bytes, site->host);
        reply_free(reply);
    }
    reply->status = h.parser.status_code;
    if (good && reply->body == NULL)
        reply->body = calloc(1, 1);
    (void)close(fd);
    return good;
}

void reply_free(struct reply *reply)
{
    free(reply->body);
    reply->body = NULL;
    reply->body_bytes = 0;
}
