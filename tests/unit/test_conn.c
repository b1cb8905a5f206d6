/*
 * test_conn.c: the slots of connections, where there is no memory for a parser.
 *
 * Thread: one. http_parser_new() is wrapped (CMakeLists.txt): it fails.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/net.h"

struct http_parser *__wrap_http_parser_new(void);
struct http_parser *__wrap_http_parser_new(void)
{
    return NULL;
}

static void a_connection_without_a_parser_leaves_a_free_slot(void **state)
{
    (void)state;
    struct net net = {.listener = -1};
    for (int n = 0; n < 3; n++) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        conn_open(&net, fd);
        assert_int_equal(fcntl(fd, F_GETFD), -1); /* closed */
    }
    assert_int_equal(net.conns_made, 1);
    assert_int_equal(net.free_count, 1);
    assert_int_equal(net.open_count, 0);
    assert_int_equal(net.conns[0]->fd, -1);
    conn_stop(&net, net.conns[0]);
    assert_null(net.closing);
    free(net.conns[0]);
    free(net.conns);
    free(net.free_slots);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_without_a_parser_leaves_a_free_slot)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
