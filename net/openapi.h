/*
 * openapi.h: net/openapi.json, what the server answers, as bytes inside the program.
 *
 * Thread: any; constants. The build makes the definitions from the file (cmake/embed.cmake).
 * tests/e2e/test_openapi.py compares the document with the route table, the outcomes and live answers.
 */
#ifndef FLASHD_NET_OPENAPI_H
#define FLASHD_NET_OPENAPI_H

#include <stddef.h>

extern const unsigned char openapi_json[]; /* not terminated */
extern const size_t openapi_json_bytes;

#endif
