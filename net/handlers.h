/*
 * handlers.h: one function per row of the route table.
 *
 * Thread: the net thread of the connection. Each handler does exactly one of three: it answers (answer.h),
 * sends a command to the engine, whose reply render_reply() makes the answer, or hands the connection to the
 * broadcaster (conn_hand_over()).
 */
#ifndef FLASHD_NET_HANDLERS_H
#define FLASHD_NET_HANDLERS_H

#include "net/routes.h"

typedef void handler(const struct call *call);

handler handle_create_sale, handle_list_sales, handle_get_sale, handle_buyers, handle_eligible,
    handle_pause, handle_resume, handle_end, handle_buy, handle_paid, handle_pay, handle_cancel,
    handle_get_order, handle_live, handle_ready, handle_streams, handle_public_stream,
    handle_user_stream, handle_events_stream, handle_metrics, handle_openapi, handle_reconcile,
    handle_reconciliation;

#endif
