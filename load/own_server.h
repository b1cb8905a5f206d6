/*
 * own_server.h: a flashd of our own for one run.
 *
 * Thread: main, except for own_server_kill(). Fails: false with one line.
 */
#ifndef FLASHLOAD_OWN_SERVER_H
#define FLASHLOAD_OWN_SERVER_H

#include <stdatomic.h>
#include <sys/types.h>

#include "load/site.h"

enum { PATH_BYTES_MAX = 512 };

struct own_server {
    /* written by main, also read by own_server_kill() */
    _Atomic pid_t pid; /* 0: none */
    _Atomic bool has_directory;
    char directory[PATH_BYTES_MAX]; /* written before has_directory */
    char url[128];
};

/* Starts flashd beside our own executable, on a free port; fills site->token. */
bool own_server_start(struct own_server *own, const struct options *options, struct site *site,
                      char *error);
/* Stops it and removes its directory; also after a failed start. False when it did not end well: the line says how it
 * ended, and has the last line of its log. */
bool own_server_stop(struct own_server *own, char *error);
/* Kills it and removes its directory. Any thread, whatever main is doing. */
void own_server_kill(const struct own_server *own);

#endif
