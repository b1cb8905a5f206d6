/*
 * metrics.h: GET /metrics: what the process does, as Prometheus text (exposition format 0.0.4).
 *
 * Thread: the net thread of the request. Reads atomics that other threads write, one by one: each figure is
 *         right, but they are not all of one moment.
 */
#ifndef FLASHD_NET_METRICS_H
#define FLASHD_NET_METRICS_H

#include "net/net.h"

enum { METRICS_SALES_MAX = 1000 /* sales that have not ended; more are left out */ };

/* Room that metrics_write() needs, at most. */
size_t metrics_bytes_max(const struct server *server);
void metrics_write(struct text *out, const struct server *server);

#endif
