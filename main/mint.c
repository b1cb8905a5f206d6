/*
 * mint.c: see mint.h.
 *
 * Thread: main; no other is started. In: flags, and the secret that the settings name. Out: a token on stdout.
 */
#include "main/mint.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/now.h"
#include "main/complain.h"
#include "main/settings.h"
#include "net/token.h"

struct token_request {
    const char *role, *subject, *ttl;
    const char *twice; /* a flag that was given twice */
};

/* Takes `--name VALUE`, for which it moves *at to the value, or `--name=VALUE`. */
static bool take_flag(int argc, char **argv, int *at, const char *name, const char **value,
                      const char **twice)
{
    size_t len = strlen(name);
    const char *given = *value;
    if (strncmp(argv[*at], name, len) != 0)
        return false;
    if (argv[*at][len] == '=')
        *value = argv[*at] + len + 1;
    else if (argv[*at][len] == '\0' && *at + 1 < argc)
        *value = argv[++*at];
    else
        return false;
    if (given != NULL)
        *twice = name;
    return true;
}

/* Takes --role, --sub and --ttl out of argv; the rest is for the settings. Returns how many are left. */
static int take_token_flags(int argc, char **argv, struct token_request *request)
{
    int kept = 0;
    for (int i = 0; i < argc; i++)
        if (!take_flag(argc, argv, &i, "--role", &request->role, &request->twice) &&
            !take_flag(argc, argv, &i, "--sub", &request->subject, &request->twice) &&
            !take_flag(argc, argv, &i, "--ttl", &request->ttl, &request->twice))
            argv[kept++] = argv[i];
    return kept;
}

static bool role_named(const char *name, enum token_role *role)
{
    *role = strcmp(name, "admin") == 0 ? ROLE_ADMIN : ROLE_CONSUMER;
    return *role == ROLE_ADMIN || strcmp(name, "consumer") == 0;
}

static int print_token(const struct token_key *key, const struct token_request *request)
{
    const char *ttl = request->ttl != NULL ? request->ttl : "3600";
    char *end = NULL;
    errno = 0;
    long long ttl_s = strtoll(ttl, &end, 10);
    enum token_role role = ROLE_NONE; /* a user's: good for that user's stream only */
    if (request->role != NULL && !role_named(request->role, &role))
        return complain("--role must be admin or consumer");
    if (request->subject == NULL)
        return complain("--sub NAME is required: 1 to 64 bytes");
    if (errno != 0 || end == ttl || *end != '\0' || ttl_s < 1 || ttl_s > 315360000)
        return complain("--ttl must be 1 to 315360000 seconds");
    if (key->len == 0)
        return complain("no secret to sign with: set --jwt-secret-file or FLASHD_JWT_SECRET");
    char token[2048];
    if (!token_mint(key, role, request->subject, now_read().wall_ms, ttl_s, token, sizeof token))
        return complain("--sub must be 1 to 64 bytes of UTF-8 without control characters");
    return puts(token) >= 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int mint_run(int argc, char **argv)
{
    static struct settings settings; /* zeroed; too large for a stack */
    char error[SETTINGS_ERROR_BYTES];
    struct token_request request = {0};
    argc = take_token_flags(argc, argv, &request);
    if (request.twice != NULL) {
        snprintf(error, sizeof error, "%s: given twice; allowed: once", request.twice);
        return complain(error);
    }
    if (!settings_load(&settings, argc, argv, error, sizeof error))
        return complain(error);
    int status = print_token(&settings.jwt_secret, &request);
    sodium_memzero(&settings, sizeof settings);
    return status;
}
