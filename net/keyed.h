/*
 * keyed.h: Idempotency-Key: the same key and body get the same answer again, and have one effect.
 *
 * Usage, handler:  void handle_x(const struct call *call) { keyed_handle(call, COMMAND_X, x); }
 *                  x() answers or sends a command to the engine as any handler does. A command takes the number
 *                  of the key along (command.key); from then on, the engine settles or forgets the key.
 *
 * A key is scoped to the path: /buy, /paid and /cancel, with and without /api/v1. Refusals made before the
 * request was understood (400 invalid-json and invalid-request, 415, 401) and 503 are not kept: the same request
 * is refused again for the same reason, or may be asked again. Every other answer is kept for KEY_KEEP_MS,
 * beginning before it is sent, also over a restart (engine/keys.h).
 *
 * Thread: the net thread of the connection.
 * Fails:  400 invalid-request for a malformed key; 409 idempotency-in-flight and 503 idempotency-keys-full
 *         with Retry-After; 422 idempotency-mismatch.
 */
#ifndef FLASHD_NET_KEYED_H
#define FLASHD_NET_KEYED_H

#include "net/handlers.h"

enum { IDEMPOTENCY_KEY_BYTES_MAX = 255 };

/* scope: the command of the path; the same key under another scope is another key. */
void keyed_handle(const struct call *call, enum command_kind scope, handler *then);

#endif
