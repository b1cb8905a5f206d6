/*
 * site.c: see site.h.
 *
 * Thread: main.
 */
#include "load/site.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "load/ask.h"
#include "load/error.h"

enum { CONNECT_PATIENCE_S = 5 };

static bool connects(const struct addrinfo *at)
{
    const struct timeval patience = {CONNECT_PATIENCE_S, 0};
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    bool good = fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) == 0;
    if (fd >= 0)
        (void)close(fd);
    return good;
}

/* Takes the first of several addresses that accepts a connection: "localhost" may be ::1 before 127.0.0.1. */
static bool resolve(struct site *site, const char *host, const char *port, char *error)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0)
        return complain(error, "--url: \"%s\" is not known: %s", host, gai_strerror(rc));
    const struct addrinfo *at = found;
    while (at != NULL && found->ai_next != NULL && !connects(at))
        at = at->ai_next;
    at = at != NULL ? at : found;
    memcpy(&site->address.at, at->ai_addr, at->ai_addrlen);
    site->address.bytes = at->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

/* 1 to 65535: the resolver would take a larger number modulo 65536. */
static bool is_port(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    unsigned long port = strtoul(text, NULL, 10);
    return digits >= 1 && digits <= 5 && text[digits] == '\0' && port >= 1 && port <= 65535;
}

bool site_parse(struct site *site, const char *url, char *error)
{
    static const char scheme[] = "http://";
    char host[HOST_BYTES_MAX], port[8] = "80";
    const char *at = url + sizeof scheme - 1;
    if (strncmp(url, scheme, sizeof scheme - 1) != 0)
        return complain(error, "--url: \"%.80s\" is not allowed; allowed: http://HOST:PORT", url);
    size_t len = strcspn(at, "/");
    const char *path = at + len;
    if (len == 0 || len >= sizeof site->host || strlen(path) >= sizeof site->prefix)
        return complain(error, "--url: \"%.80s\" is not allowed; allowed: http://HOST:PORT", url);
    (void)snprintf(site->host, sizeof site->host, "%.*s", (int)len, at);
    (void)snprintf(site->prefix, sizeof site->prefix, "%s",
                   strcmp(path, "/") == 0 || *path == '\0' ? "/api/v1" : path);
    size_t prefix_len = strlen(site->prefix);
    if (site->prefix[prefix_len - 1] == '/')
        site->prefix[prefix_len - 1] = '\0';
    const char *colon = strrchr(site->host, ':'), *bracket = strchr(site->host, ']');
    size_t host_len =
        colon != NULL && (bracket == NULL || colon > bracket) ? (size_t)(colon - site->host) : len;
    if (host_len < len && !is_port(colon + 1))
        return complain(error, "--url: \"%.80s\" is not allowed; allowed: http://HOST:PORT", url);
    if (host_len < len)
        (void)snprintf(port, sizeof port, "%.7s", colon + 1);
    bool bracketed = site->host[0] == '[' && bracket != NULL;
    (void)snprintf(host, sizeof host, "%.*s",
                   (int)(bracketed ? (size_t)(bracket - site->host - 1) : host_len),
                   site->host + bracketed);
    return resolve(site, host, port, error);
}

bool site_take_token(struct site *site, const struct options *o, char *error)
{
    char text[TOKEN_BYTES_MAX + 2] = "";
    const char *token = o->token;
    if (o->token_file != NULL) {
        FILE *file = fopen(o->token_file, "re");
        size_t len = file != NULL ? fread(text, 1, sizeof text - 1, file) : 0;
        if (file == NULL)
            return complain(error, "--token-file: cannot read \"%s\": %s", o->token_file,
                            strerror(errno));
        (void)fclose(file);
        text[len] = '\0';
        text[strcspn(text, "\r\n")] = '\0';
        if (text[0] == '\0')
            return complain(error, "--token-file: there is no token in \"%s\"", o->token_file);
        token = text;
    }
    size_t len = token != NULL ? strlen(token) : 0;
    if (len >= sizeof site->token ||
        (token != NULL && strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx"
                                        "yz0123456789-_.=~+/") != len))
        return complain(error, "%s: it is no token: a JWT of at most %zu characters is expected",
                        o->token_file != NULL ? "--token-file" : "--token or FLASHD_TOKEN",
                        sizeof site->token - 1);
    memcpy(site->token, token != NULL ? token : "", len);
    site->token[len] = '\0';
    return true;
}

bool site_probe(const struct site *site, const char *url, char *error)
{
    char why[256];
    struct reply reply;
    if (!ask(site, "GET", "/sales", NULL, &reply, why, sizeof why))
        return complain(error, "no server answers at %s (%s); start one: ./run serve", url, why);
    json_t *json = json_loadb(reply.body, reply.body_bytes, 0, NULL);
    bool good = reply.status == 200 && json_is_array(json_object_get(json, "sales"));
    if (!good)
        (void)complain(error,
                       "something answers at %s, but it is no flashd: GET %s/sales gave status %u "
                       "and no list of sales",
                       url, site->prefix, reply.status);
    json_decref(json);
    reply_free(&reply);
    return good;
}
