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

bool port_init(struct port *port, const struct log *log, const struct keys *keys,
               const struct port_target targets[], uint32_t target_count)
{
    *port = (struct port){.log = log, .keys = keys, .target_count = target_count};
    bool ok = true;
    for (uint32_t i = 0; i < target_count; i++) {
        port->targets[i] = targets[i];
        ok = command_ring_init(&port->channels[i].commands, COMMAND_RING_SLOTS) && ok;
        ok = reply_ring_init(&port->channels[i].replies, COMMAND_RING_SLOTS) && ok;
        ok = reply_ring_init(&port->channels[i].keyed, COMMAND_RING_SLOTS) && ok;
    }
    return ok;
}

void port_free(struct port *port)
{
    for (uint32_t i = 0; i < port->target_count; i++) {
        command_ring_free(&port->channels[i].commands);
        reply_ring_free(&port->channels[i].replies);
        reply_ring_free(&port->channels[i].keyed);
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

void port_play(struct port *port, struct now now)
{
    for (uint32_t i = 0; i < port->target_count; i++) {
        const struct port_target *target = &port->targets[i];
        if (!port->dirty[i] || target->play == NULL)
            continue;
        port->dirty[i] = false;
        target->play(target->arg, now);
    }
    port_flush(port);
}

void port_flush(struct port *port)
{
    for (uint32_t i = 0; i < port->target_count; i++) {
        if (port->dirty[i])
            wake_up(port->targets[i].wake);
        port->dirty[i] = false;
    }
}

static inline bool head_is_durable(struct port *port, uint32_t target)
{
    if (!port->parked[target])
        port->parked[target] = reply_ring_pop(&port->channels[target].replies, &port->head[target]);
    return port->parked[target] &&
           (port->head[target].seq <= log_committed(port->log) || FAULT(FAULT_ACK_BEFORE_COMMIT));
}

/* A key is settled after the commit that holds its event or, for a refusal, all that the refusal saw. */
static bool keyed_head_is_durable(struct port *port, uint32_t target)
{
    struct reply *head = &port->keyed_head[target];
    if (!port->keyed_parked[target])
        port->keyed_parked[target] = reply_ring_pop(&port->channels[target].keyed, head);
    return port->keyed_parked[target] &&
           (keys_is_settled(port->keys, head->key) || FAULT(FAULT_ACK_BEFORE_COMMIT));
}

/* Not inline, so that replies without a key do not pay for its registers. */
static __attribute__((noinline)) bool receive_keyed(struct port *port, struct reply *reply)
{
    for (uint32_t i = 0; i < port->target_count; i++) {
        if (!keyed_head_is_durable(port, i))
            continue;
        *reply = port->keyed_head[i];
        port->keyed_parked[i] = false;
        port->in_flight[i]--;
        return true;
    }
    return false;
}

bool port_receive(struct port *port, struct reply *reply)
{
    for (uint32_t i = 0; i < port->target_count; i++) {
        if (!head_is_durable(port, i))
            continue;
        *reply = port->head[i];
        port->parked[i] = false;
        port->in_flight[i]--;
        return true;
    }
    return receive_keyed(port, reply);
}

bool port_may_sleep(struct port *port)
{
    (void)atomic_exchange(&port->asleep, true);
    STEP("port-asleep");
    for (uint32_t i = 0; i < port->target_count; i++) {
        if (head_is_durable(port, i) || keyed_head_is_durable(port, i)) {
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
    struct channel *channel = &port->channels[target];
    bool pushed = reply_ring_push(reply->key == 0 ? &channel->replies : &channel->keyed, reply);
    MUST(pushed, "a reply ring full below its bound");
}
