/*
 * target.h: the server under load: found at its URL or started, asked for its sales, and in the end for its books.
 *
 * Thread: main. Fails: false with one line that says what to do about it.
 */
#ifndef FLASHLOAD_TARGET_H
#define FLASHLOAD_TARGET_H

#include <sys/types.h>

#include "load/run.h"

enum { TARGET_ERROR_BYTES = 768, PATH_BYTES_MAX = 512 };

/* A server of our own, with its temporary directory. */
struct own_server {
    _Atomic pid_t pid; /* 0: none */
    _Atomic bool has_directory;
    char directory[PATH_BYTES_MAX]; /* written before has_directory */
    char url[128];
};

/* Starts flashd beside our own executable, on a free port; fills site->token. */
bool own_server_start(struct own_server *own, const struct options *options, struct site *site,
                      char *error);
/* Stops it and removes its directory; also after a failed start. False when it did not end well, with how it ended and
 * the last line of its log. */
bool own_server_stop(struct own_server *own, char *error);
/* The same without waiting for anything; by any thread, whatever another one is at. */
void own_server_kill(const struct own_server *own);

bool site_parse(struct site *site, const char *url, char *error);
bool site_take_token(struct site *site, const struct options *options, char *error);
/* Whether a flashd answers there. */
bool site_probe(const struct site *site, const char *url, char *error);

/* Makes the sales, or looks at the one that is given; waits until they are open. */
bool target_open_sales(struct run *run, char *error);
/* Ends those that we made, so that who still waits is told so. */
bool target_end_sales(struct run *run, char *error);
/* Reads every sale as it is now. */
bool target_read_sales(const struct run *run, struct final_sale *sales, char *error);
/* Reads every sale's buyers list; *listed is the caller's to free. */
bool target_read_buyers(const struct run *run, struct listed_buyer **listed, uint64_t *count,
                        char *error);

/* Descriptors for all connections, raising the soft limit. */
bool descriptors_suffice(const struct run *run, char *error);
/* CPU time of a process, all threads, in ns; 0 when unknown. */
uint64_t process_cpu_ns(pid_t pid);

#endif
