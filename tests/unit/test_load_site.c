/*
 * test_load_site.c: which address of several flashload takes. The resolver is this file's.
 *
 * Thread: one.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "load/error.h"
#include "load/site.h"

static struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
static struct sockaddr_in four = {.sin_family = AF_INET};
static struct addrinfo second = {.ai_family = AF_INET,
                                 .ai_socktype = SOCK_STREAM,
                                 .ai_addrlen = sizeof four,
                                 .ai_addr = (struct sockaddr *)&four};
static struct addrinfo first = {.ai_family = AF_INET6,
                                .ai_socktype = SOCK_STREAM,
                                .ai_addrlen = sizeof six,
                                .ai_addr = (struct sockaddr *)&six,
                                .ai_next = &second};

/* "localhost" as most machines know it: ::1 first. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    uint16_t port = 0;
    assert_string_equal(name, "localhost");
    assert_int_equal(hints->ai_socktype, SOCK_STREAM);
    assert_int_equal(sscanf(service, "%hu", &port), 1);
    six.sin6_port = four.sin_port = htons(port);
    *found = &first;
    return 0;
}

void freeaddrinfo(struct addrinfo *found)
{
    assert_ptr_equal(found, &first);
}

static int listen_at_127_0_0_1(char url[32])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &bytes), 0);
    four.sin_addr = at.sin_addr;
    (void)snprintf(url, 32, "http://localhost:%u", ntohs(at.sin_port));
    return fd;
}

static void the_address_that_answers_is_taken(void **state)
{
    (void)state;
    static struct site site;
    char error[ERROR_BYTES] = "", url[32];
    int fd = listen_at_127_0_0_1(url);
    assert_true(site_parse(&site, url, error));
    assert_int_equal(site.address.at.ss_family, AF_INET);
    assert_memory_equal(&site.address.at, &four, sizeof four);
    (void)close(fd);
    assert_true(site_parse(&site, url, error)); /* nobody there: the first, and its error */
    assert_int_equal(site.address.at.ss_family, AF_INET6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_address_that_answers_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
