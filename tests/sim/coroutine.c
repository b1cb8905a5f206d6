/*
 * coroutine.c: switches written by hand for x86-64, else by ucontext (see coroutine.h).
 *
 * By hand: the registers that a called function must preserve go on the old stack, the stack pointer is
 * exchanged, and the same registers come off the new one. A fresh stack is laid out as if it had
 * been switched away from just before its body was called.
 *
 * Thread: all on one. Fails: never.
 */
#include "tests/sim/coroutine.h"

#include <stdint.h>
#include <stdlib.h>

#ifdef COROUTINE_BY_HAND

void coroutine_swap_stacks(void **save, void *load);
void coroutine_enter(void);

/* r12 and r13 of a fresh stack hold its body and arg; see coroutine_start(). */
__asm__(".text\n"
        ".globl coroutine_swap_stacks\n"
        ".type coroutine_swap_stacks, @function\n"
        "coroutine_swap_stacks:\n"
        "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
        "  mov %rsp, (%rdi)\n"
        "  mov %rsi, %rsp\n"
        "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n"
        "  ret\n"
        ".size coroutine_swap_stacks, .-coroutine_swap_stacks\n"
        ".globl coroutine_enter\n"
        ".type coroutine_enter, @function\n"
        "coroutine_enter:\n"
        "  mov %r13, %rdi\n"
        "  call *%r12\n"
        "  ud2\n"
        ".size coroutine_enter, .-coroutine_enter\n");

void coroutine_start(struct coroutine *c, void *stack, size_t bytes, void (*body)(void *arg),
                     void *arg)
{
    uintptr_t *top = (uintptr_t *)(((uintptr_t)stack + bytes) & ~(uintptr_t)15);
    /* r15, r14, r13, r12, rbx, rbp, then where `ret` goes, then zeros that end the backtrace and
     * leave the stack aligned to 16 at the call. */
    const uintptr_t frame[] = {
        0, 0, (uintptr_t)arg, (uintptr_t)body, 0, 0, (uintptr_t)coroutine_enter, 0, 0};
    enum { WORDS = sizeof frame / sizeof frame[0] };
    top -= WORDS;
    for (int i = 0; i < WORDS; i++)
        top[i] = frame[i];
    c->stack_pointer = top;
}

void coroutine_switch(struct coroutine *from, struct coroutine *to)
{
    coroutine_swap_stacks(&from->stack_pointer, to->stack_pointer);
}

#else

static void enter(unsigned body_high, unsigned body_low, unsigned arg_high, unsigned arg_low)
{
    /* makecontext passes ints only. */
    void (*body)(void *) = (void (*)(void *))((uintptr_t)body_high << 32 | body_low);
    body((void *)((uintptr_t)arg_high << 32 | arg_low));
    abort();
}

void coroutine_start(struct coroutine *c, void *stack, size_t bytes, void (*body)(void *arg),
                     void *arg)
{
    if (getcontext(&c->context) != 0)
        abort();
    c->context.uc_stack.ss_sp = stack;
    c->context.uc_stack.ss_size = bytes;
    c->context.uc_link = NULL;
    uintptr_t b = (uintptr_t)body, a = (uintptr_t)arg;
    makecontext(&c->context, (void (*)(void))enter, 4, (unsigned)(b >> 32), (unsigned)b,
                (unsigned)(a >> 32), (unsigned)a);
}

void coroutine_switch(struct coroutine *from, struct coroutine *to)
{
    if (swapcontext(&from->context, &to->context) != 0)
        abort();
}

#endif
