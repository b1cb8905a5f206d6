/*
 * page.h: load/report.html, as bytes in the program (cmake/embed.cmake makes them).
 *
 * Thread: any; constants. Out: the page, without a NUL at its end.
 * Cannot fail.
 */
#ifndef FLASHLOAD_PAGE_H
#define FLASHLOAD_PAGE_H

#include <stddef.h>

extern const unsigned char page_html[];
extern const size_t page_html_bytes;

#endif
