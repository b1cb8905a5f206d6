/*
 * demo.h: what `flashd demo` adds to a server: an open sale, and README's lines to try it.
 *
 * Thread: main, on an engine port of its own.
 */
#ifndef FLASHD_MAIN_DEMO_H
#define FLASHD_MAIN_DEMO_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct engine;
struct port;

/* Opens a sale unless one is active with units left; prints the lines with its URL and data directory.
 * False: the engine refused the sale or did not answer, or the lines could not be written. */
bool demo_open_sale(struct engine *engine, struct port *port, const char *url, const char *data_dir,
                    FILE *out);

#endif
