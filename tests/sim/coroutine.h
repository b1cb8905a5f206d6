/*
 * coroutine.h: a few functions that take turns on one thread, each with its own stack.
 *
 * Usage: coroutine_start(&c, stack, bytes, body, arg);  coroutine_switch(&here, &c);
 * A body never returns; a coroutine is ended by not switching to it any more.
 *
 * On x86-64 a switch is fifteen instructions, since the simulation makes a hundred million of them;
 * elsewhere, and under sanitizers (which must be told of stacks), it is ucontext's swapcontext.
 *
 * Thread: all on one.
 */
#ifndef FLASHD_TESTS_SIM_COROUTINE_H
#define FLASHD_TESTS_SIM_COROUTINE_H

#include <stddef.h>

#if defined(__has_feature) /* clang */
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COROUTINE_SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COROUTINE_SANITIZED 1
#endif

#if defined(__x86_64__) && !defined(COROUTINE_SANITIZED)
#define COROUTINE_BY_HAND 1
struct coroutine {
    void *stack_pointer;
};
#else
#include <ucontext.h>
struct coroutine {
    ucontext_t context;
};
#endif

/* The stack is borrowed for as long as the coroutine is switched to. */
void coroutine_start(struct coroutine *c, void *stack, size_t bytes, void (*body)(void *arg),
                     void *arg);
/* Continues in `to`; returns when somebody switches to `from`. */
void coroutine_switch(struct coroutine *from, struct coroutine *to);

#endif
