/*
 * port.c: rings, parking and the sleep handshake (see port.h).
 *
 * The handshake: `asleep` is changed only by exchanges, so the two sides are ordered: either the
 * waker finds true and wakes, or the sleeper's exchange comes later and sees what the waker
 * published.
 */
#include "engine/port.h"

#include "engine/check.h"

enum { IN_FLIGHT_MAX = COMMAND_RING_SLOTS - 1 }; /* what a ck_ring of that size holds */

bool port_init(struct port *port, const struct log *log, const struct keys *keys, uint32_t targets,
               struct wake *const wakes[])
{
    *port = (struct port){.log = log, .keys = keys, .targets = targets};
    bool ok = true;
    for (uint32_t i = 0; i < targets; i++) {
        port->target_wakes[i] = wakes[i];
        ok = command_ring_init(&port->channels[i].commands, COMMAND_RING_SLOTS) && ok;
        ok = reply_ring_init(&port->channels[i].replies, COMMAND_RING_SLOTS) && ok;
    }
    return ok;
}

void port_free(struct port *port)
{
    for (uint32_t i = 0; i < port->targets; i++) {
        command_ring_free(&port->channels[i].commands);
        reply_ring_free(&port->channels[i].replies);
    }
}

bool port_send(struct port *port, uint32_t target, struct command *command)
{
    if (port->in_flight[target] == IN_FLIGHT_MAX)
        return false;
    bool pushed = command_ring_push(&port->channels[target].commands, command);
    MUST(pushed, "a command ring full below its bound");
    port->in_flight[target]++;
    port->dirty[target] = true;
    return true;
}

void port_flush(struct port *port)
{
    for (uint32_t i = 0; i < port->targets; i++) {
        if (port->dirty[i])
            wake_up(port->target_wakes[i]);
        port->dirty[i] = false;
    }
}

static inline bool is_durable(const struct port *port, const struct reply *reply)
{
    if (FAULT(FAULT_ACK_BEFORE_COMMIT))
        return true;
    return reply->seq <= log_committed(port->log) &&
           (reply->key == 0 || keys_is_settled(port->keys, reply->key));
}

static inline bool head_is_durable(struct port *port, uint32_t target)
{
    if (!port->parked[target])
        port->parked[target] = reply_ring_pop(&port->channels[target].replies, &port->head[target]);
    return port->parked[target] && is_durable(port, &port->head[target]);
}

bool port_receive(struct port *port, struct reply *reply)
{
    for (uint32_t i = 0; i < port->targets; i++) {
        if (!head_is_durable(port, i))
            continue;
        *reply = port->head[i];
        port->parked[i] = false;
        port->in_flight[i]--;
        return true;
    }
    return false;
}

bool port_may_sleep(struct port *port)
{
    (void)atomic_exchange(&port->asleep, true);
    STEP("port-asleep");
    for (uint32_t i = 0; i < port->targets; i++) {
        if (head_is_durable(port, i)) {
            port_awake(port);
            return false;
        }
    }
    return true;
}

void port_awake(struct port *port)
{
    (void)atomic_exchange(&port->asleep, false);
}

void port_notify(struct port *port)
{
    STEP("port-notify");
    if (atomic_exchange(&port->asleep, false) && port->wake != NULL)
        port->wake(port->wake_arg);
}

void port_answer(struct port *port, uint32_t target, struct reply *reply)
{
    STEP("reply-push");
    bool pushed = reply_ring_push(&port->channels[target].replies, reply);
    MUST(pushed, "a reply ring full below its bound");
}
