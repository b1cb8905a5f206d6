/*
 * deadline.c: connections in lists by the reason of their deadline (see net.h).
 *
 * All deadlines of a list have the same length, so appending keeps the list in order of expiry, and
 * its head expires next: no heap, no wheel.
 *
 * Thread: the net thread of the lists.
 */
#include "net/net.h"

static const int64_t lengths_ms[DEADLINE_COUNT] = {
    [DEADLINE_HEAD] = HEAD_TIMEOUT_MS,     [DEADLINE_BODY] = BODY_TIMEOUT_MS,
    [DEADLINE_IDLE] = IDLE_TIMEOUT_MS,     [DEADLINE_SEND] = SEND_LOOK_MS,
    [DEADLINE_LINGER] = LINGER_TIMEOUT_MS,
};

static void unlink_conn(struct net *net, struct conn *conn)
{
    struct deadline_list *list = &net->deadlines[conn->deadline];
    if (conn->older != NULL)
        conn->older->newer = conn->newer;
    else
        list->oldest = conn->newer;
    if (conn->newer != NULL)
        conn->newer->older = conn->older;
    else
        list->newest = conn->older;
    conn->older = conn->newer = NULL;
}

void deadline_set(struct net *net, struct conn *conn, enum deadline deadline)
{
    if (conn->deadline != DEADLINE_NONE)
        unlink_conn(net, conn);
    conn->deadline = deadline;
    if (deadline == DEADLINE_NONE)
        return;
    conn->deadline_mono_ms = net->now.mono_ms + lengths_ms[deadline];
    struct deadline_list *list = &net->deadlines[deadline];
    conn->older = list->newest;
    if (list->newest != NULL)
        list->newest->newer = conn;
    else
        list->oldest = conn;
    list->newest = conn;
}

int64_t deadline_next_ms(const struct net *net)
{
    int64_t next_ms = -1;
    for (int i = 0; i < DEADLINE_COUNT; i++) {
        const struct conn *conn = net->deadlines[i].oldest;
        if (conn == NULL)
            continue;
        int64_t left_ms = conn->deadline_mono_ms - net->now.mono_ms;
        left_ms = left_ms < 0 ? 0 : left_ms;
        if (next_ms < 0 || left_ms < next_ms)
            next_ms = left_ms;
    }
    return next_ms;
}

void deadline_expire(struct net *net)
{
    for (int i = 0; i < DEADLINE_COUNT; i++) {
        struct conn *conn;
        while ((conn = net->deadlines[i].oldest) != NULL &&
               conn->deadline_mono_ms <= net->now.mono_ms)
            conn_expired(net, conn); /* takes the connection off this list */
    }
}
