/*
 * replies.h: sales, orders and the engine's replies as JSON.
 *
 * Thread: put_sale() and put_order(): any; the broadcaster's snapshots use them too. The others: the net thread of the
 *         connection. What is shown is committed (view.h).
 */
#ifndef FLASHD_NET_REPLIES_H
#define FLASHD_NET_REPLIES_H

#include "net/net.h"

enum {
    SALE_JSON_BYTES_MAX = 1536,
    ORDER_JSON_BYTES_MAX = 1024,
    BUYER_JSON_BYTES_MAX = 640,
    RECONCILIATION_JSON_BYTES_MAX = 1024
};

void put_sale(struct text *out, const struct sale *sale);
void put_order(struct text *out, const struct engine *engine, const struct order *order);
void put_buyer(struct text *out, const struct engine *engine, const struct order *order,
               bool with_name, bool with_id);
/* What the last reconciliation found, and when the next is due. */
void put_reconciliation(struct text *out, const struct reconciler *reconciler);
/* Answers the request in work of `conn` with what the engine decided. */
void render_reply(struct net *net, struct conn *conn, const struct reply *reply);
/* Answers it as the first request with its key was answered, to the byte. */
void render_kept(struct net *net, struct conn *conn, const struct kept *kept);

#endif
