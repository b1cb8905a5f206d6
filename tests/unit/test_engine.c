/*
 * test_engine.c: an engine for which there is not memory enough says so and is freed, at whichever part it ended.
 *
 * Thread: one. Each amount of memory is tried in a process of its own. Not under sanitisers, whose own memory
 * needs most of the address space.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/model.h"

enum { MIB = 1 << 20, ENOUGH_MIB = 512, MADE = 0, OUT_OF_MEMORY = 1 };

static size_t mapped_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu", &pages), 1);
    (void)fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* With so much memory beside what the process has already; does not return. */
static void make_and_free(size_t bytes)
{
    static struct engine engine;
    static struct model model;
    const struct engine_options options = {
        .workers = 2, .ports = 2, .keys = 100000, .state_interval_ms = 100, .hash = model_hash};
    (void)signal(SIGSEGV, SIG_DFL); /* cmocka would call it a failed test and exit */
    const struct rlimit limit = {mapped_bytes() + bytes, RLIM_INFINITY};
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        _exit(2);
    bool made = engine_init(&engine, options, model_store(&model));
    engine_free(&engine);
    _exit(made ? MADE : OUT_OF_MEMORY);
}

static int ends_with(size_t bytes)
{
    int status;
    pid_t child = fork();
    if (child == 0)
        make_and_free(bytes);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void an_engine_without_memory_is_not_made_and_is_freed(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip();
#endif
    int ended = OUT_OF_MEMORY;
    assert_int_equal(ends_with(0), OUT_OF_MEMORY);
    for (size_t mib = 1; mib < ENOUGH_MIB && ended == OUT_OF_MEMORY; mib++)
        ended = ends_with(mib * MIB);
    assert_int_equal(ended, MADE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_engine_without_memory_is_not_made_and_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
