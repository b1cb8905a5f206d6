/*
 * error.h: one line that tells the user what is wrong.
 *
 * Thread: any; the line is the caller's.
 */
#ifndef FLASHLOAD_ERROR_H
#define FLASHLOAD_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

enum { ERROR_BYTES = 768 };

static inline bool complain(char *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Always false, so that a caller can return it. error: ERROR_BYTES. */
static inline bool complain(char *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error, ERROR_BYTES, format, arguments);
    va_end(arguments);
    return false;
}

#endif
