/*
 * own_server.c: a flashd of our own for one run (own_server.h), with a random secret, a temporary data directory and
 * a free port.
 *
 * It runs in a session of its own, so that Ctrl-C at the terminal reaches flashload alone, which then stops it;
 * if flashload is killed, the kernel kills it too. Its other settings come from the environment (FLASHD_WORKERS
 * and the like), as always.
 *
 * Thread: main, except for own_server_kill().
 */
#include "load/own_server.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load/clock.h"
#include "load/error.h"

enum { READY_PATIENCE_MS = 60000, STOP_PATIENCE_MS = 15000 };

static const char ready_prefix[] = "flashd listening on ";

/* ---- the child ---- */

static bool find_flashd(char path[PATH_BYTES_MAX], char *error)
{
    ssize_t len = readlink("/proc/self/exe", path, PATH_BYTES_MAX - 8);
    char *slash = len > 0 ? memrchr(path, '/', (size_t)len) : NULL;
    if (slash == NULL)
        return complain(error, "cannot find my own executable");
    memcpy(slash + 1, "flashd", sizeof "flashd");
    return access(path, X_OK) == 0 ||
           complain(error, "there is no %s to start; build it, or name a running server with --url",
                    path);
}

static void make_secret(char secret[65])
{
    unsigned char bytes[32];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        abort(); /* cannot happen: small reads of the kernel's generator do not fail */
    for (size_t i = 0; i < sizeof bytes; i++)
        (void)snprintf(secret + 2 * i, 3, "%02x", bytes[i]);
}

/* Sets it unless the user has. */
static void set_variable(const char *name, const char *value)
{
    (void)setenv(name, value, 0);
}

static void prepare_environment(const struct options *options, const char *secret)
{
    char streams[16];
    (void)snprintf(streams, sizeof streams, "%u", options->spectators + options->watchers + 16);
    (void)unsetenv("FLASHD_JWT_SECRET_FILE");
    (void)setenv("FLASHD_JWT_SECRET", secret, 1);
    set_variable("FLASHD_MAX_STREAMS", streams);
    set_variable("FLASHD_MAX_STREAMS_PER_ADDRESS", streams);
    set_variable("FLASHD_LOG_LEVEL", "warn");
}

/* Starts the program; its stdout can be read from *out. Returns 0 on failure. */
static pid_t start(char *const arguments[], const struct options *options, const char *secret,
                   const char *log, int *out)
{
    int pipe_fds[2];
    sigset_t none;
    (void)sigemptyset(&none);
    if (pipe2(pipe_fds, O_CLOEXEC) != 0)
        return 0;
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        (void)setsid();
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        if (getppid() != parent)
            _exit(EXIT_FAILURE);
        int log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600),
            null_fd = open("/dev/null", O_RDONLY);
        (void)dup2(null_fd, STDIN_FILENO);
        (void)dup2(pipe_fds[1], STDOUT_FILENO);
        (void)dup2(log_fd, STDERR_FILENO);
        prepare_environment(options, secret);
        (void)execv(arguments[0], arguments);
        _exit(127);
    }
    (void)close(pipe_fds[1]);
    *out = pipe_fds[0];
    if (pid > 0)
        return pid;
    (void)close(pipe_fds[0]);
    return 0;
}

/* Reads one line, without its newline; false when none came in time. */
static bool read_line(int fd, char *line, size_t line_bytes)
{
    uint64_t end_ns = clock_ns() + READY_PATIENCE_MS * NS_PER_MS;
    size_t len = 0;
    while (len + 1 < line_bytes && clock_ns() < end_ns) {
        struct pollfd ready = {fd, POLLIN, 0};
        if (poll(&ready, 1, 100) <= 0)
            continue;
        if (read(fd, line + len, 1) != 1)
            break;
        if (line[len] == '\n') {
            line[len] = '\0';
            return true;
        }
        len++;
    }
    line[len] = '\0';
    return false;
}

/* The last line of the child's log that is not empty, without its newline; cut if it is too long. */
static void last_of_log(const struct own_server *own, char *text, size_t text_bytes)
{
    char path[PATH_BYTES_MAX + 8], *line = NULL;
    size_t room = 0;
    (void)snprintf(path, sizeof path, "%s/log", own->directory);
    (void)snprintf(text, text_bytes, "it says nothing");
    FILE *file = fopen(path, "re");
    while (file != NULL && getline(&line, &room, file) > 0) {
        line[strcspn(line, "\r\n")] = '\0';
        if (*line != '\0')
            (void)snprintf(text, text_bytes, "%s", line);
    }
    free(line);
    if (file != NULL)
        (void)fclose(file);
}

static bool mint_token(char *flashd, const struct options *options, const char *secret,
                       const char *log, struct site *site)
{
    char *const arguments[] = {flashd,      "token", "--role", "admin", "--sub",
                               "flashload", "--ttl", "604800", NULL};
    int out = -1, status = 0;
    pid_t pid = start(arguments, options, secret, log, &out);
    if (pid == 0)
        return false;
    bool good = read_line(out, site->token, sizeof site->token);
    (void)close(out);
    return waitpid(pid, &status, 0) == pid && status == 0 && good;
}

bool own_server_start(struct own_server *own, const struct options *options, struct site *site,
                      char *error)
{
    char flashd[PATH_BYTES_MAX], secret[65], data[PATH_BYTES_MAX + 8], log[PATH_BYTES_MAX + 8],
        line[256], why[400];
    const char *parent = getenv("TMPDIR");
    if (!find_flashd(flashd, error))
        return false;
    (void)snprintf(own->directory, sizeof own->directory, "%s/flashload-XXXXXX",
                   parent != NULL && *parent != '\0' ? parent : "/tmp");
    if (mkdtemp(own->directory) == NULL)
        return complain(error, "cannot make %s: %s", own->directory, strerror(errno));
    atomic_store(&own->has_directory, true);
    (void)snprintf(data, sizeof data, "%s/data", own->directory);
    (void)snprintf(log, sizeof log, "%s/log", own->directory);
    make_secret(secret);
    int out = -1;
    char *const arguments[] = {flashd, "serve", "--listen", "127.0.0.1:0", "--data", data, NULL};
    pid_t pid = 0;
    if (mint_token(flashd, options, secret, log, site))
        pid = start(arguments, options, secret, log, &out);
    own->pid = pid;
    if (pid != 0 && read_line(out, line, sizeof line) &&
        strncmp(line, ready_prefix, sizeof ready_prefix - 1) == 0) {
        (void)snprintf(own->url, sizeof own->url, "%.100s", line + sizeof ready_prefix - 1);
        (void)close(out);
        return true;
    }
    if (out >= 0)
        (void)close(out);
    last_of_log(own, why, sizeof why);
    return complain(error, "flashd did not start: %s", why);
}

/* ---- its end ---- */

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status, (void)kind, (void)place;
    return remove(path);
}

/* Returns whether it had to be killed. */
static bool end_child(pid_t pid, int *status)
{
    uint64_t end_ns = clock_ns() + STOP_PATIENCE_MS * NS_PER_MS;
    (void)kill(pid, SIGTERM);
    while (waitpid(pid, status, WNOHANG) == 0) {
        if (clock_ns() > end_ns) {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, status, 0);
            return true;
        }
        clock_sleep_ms(5);
    }
    return false;
}

static bool stop_child(const struct own_server *own, char *error)
{
    char said[400];
    int status = 0;
    bool killed = end_child(own->pid, &status);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    last_of_log(own, said, sizeof said);
    if (killed)
        return complain(error, "flashd did not stop within %d s: %s", STOP_PATIENCE_MS / 1000,
                        said);
    if (WIFSIGNALED(status))
        return complain(error, "flashd was killed by signal %d (%s): %s", WTERMSIG(status),
                        strsignal(WTERMSIG(status)), said);
    return complain(error, "flashd ended with status %d: %s", WEXITSTATUS(status), said);
}

static void remove_directory(const struct own_server *own)
{
    if (atomic_load(&own->has_directory))
        (void)nftw(own->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

bool own_server_stop(struct own_server *own, char *error)
{
    bool good = own->pid == 0 || stop_child(own, error);
    own->pid = 0;
    remove_directory(own);
    own->has_directory = false;
    return good;
}

void own_server_kill(const struct own_server *own)
{
    pid_t pid = own->pid;
    if (pid != 0 && kill(pid, SIGKILL) == 0)
        (void)waitpid(pid, NULL, 0);
    remove_directory(own);
}
