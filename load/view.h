/*
 * view.h: what a person sees while the load runs: on a terminal a few lines that update in place; elsewhere, or when
 * they do not fit, one plain line a second.
 *
 * Thread: main. In: the ticks that the load threads have published. Out: to the given file. Cannot fail.
 */
#ifndef FLASHLOAD_VIEW_H
#define FLASHLOAD_VIEW_H

#include <stdio.h>

#include "load/run.h"

struct view {
    FILE *out;
    bool terminal, in_place;
    uint32_t lines;     /* drawn, to be drawn over */
    uint32_t last_tick; /* shown */
};

void view_open(struct view *view, FILE *out);
void view_head(const struct view *view, const struct run *run, const char *url);
void view_update(struct view *view, const struct run *run);
/* After the load: the last picture, which stays. */
void view_close(struct view *view, const struct run *run);

#endif
