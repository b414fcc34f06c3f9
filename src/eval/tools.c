/* Running an outside program: posix_spawn, a pipe, a deadline (see tools.h).
 *
 * The child leads a process group of its own, so that what it starts in turn is killed with it. */
#include "eval/tools.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"

extern char **environ;

enum { READ_BYTES = 65536, WAIT_MS = 5 };

/* ---- finding ---- */

static bool is_program(const char *path) {
    struct stat s;
    return !stat(path, &s) && S_ISREG(s.st_mode) && !access(path, X_OK);
}

static char *find_in(const char *folders, const char *name) {
    for (const char *from = folders;; from++) {
        size_t n = strcspn(from, ":");
        char *path = text_format("%.*s/%s", (int)n, from, name);
        if (n > 0 && is_program(path))
            return path;
        free(path);
        from += n;
        if (!*from)
            return NULL;
    }
}

/* Programs are started in other folders: what is found from here must be found from there. */
static char *from_anywhere(char *path) {
    char *whole = path && *path != '/' ? realpath(path, NULL) : NULL;
    if (!whole)
        return path;
    free(path);
    return whole;
}

char *tool_find(const char *name) {
    const char *path = getenv("PATH");
    if (strchr(name, '/'))
        return is_program(name) ? from_anywhere(text_copy(name)) : NULL;
    char *found = path ? find_in(path, name) : NULL;
    return found ? from_anywhere(found) : find_in("/usr/local/sbin:/usr/sbin:/sbin", name);
}

/* ---- starting ---- */

/* This process's environment in the C locale; the strings are borrowed but for the last. Free with clear_environment.
 */
static status make_environment(const char *folder, char ***environment) {
    size_t n = 0, k = 0;
    while (environ[n])
        n++;
    TRY(NEW(n + 3, environment));
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "LC_ALL=", 7) != 0 && strncmp(environ[i], "WIRESHARK_CONFIG_DIR=", 21) != 0)
            (*environment)[k++] = environ[i];
    (*environment)[k++] = (char *)"LC_ALL=C";
    (*environment)[k] = text_format("WIRESHARK_CONFIG_DIR=%s", folder ? folder : "/nonexistent");
    return ST_OK;
}

static void clear_environment(char ***environment) {
    if (*environment) {
        size_t n = 0;
        while ((*environment)[n])
            n++;
        if (n > 0)
            free((*environment)[n - 1]);
    }
    memory_free(environment);
}

static int spawn(const char *program, char *const *argv, const char *folder, char *const *environment, int output,
                 pid_t *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, usual;
    sigemptyset(&none);
    sigfillset(&usual);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    if (folder)
        posix_spawn_file_actions_addchdir_np(&actions, folder);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &usual);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int failed = posix_spawn(pid, program, &actions, &attributes, argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return failed;
}

/* *started: false where the file is no program that this machine can run. */
static status start(const char *program, char *const *argv, const char *folder, int *from, pid_t *pid, bool *started) {
    int ends[2];
    char **environment = NULL;
    TRY(make_environment(folder, &environment));
    if (pipe2(ends, O_CLOEXEC)) {
        int why = errno;
        clear_environment(&environment);
        return FAIL(ST_IO, "pipe for %s: %s", argv[0], strerror(why));
    }
    int failed = spawn(program, argv, folder, environment, ends[1], pid);
    clear_environment(&environment);
    close(ends[1]);
    *started = !failed;
    if (!failed) {
        *from = ends[0];
        return ST_OK;
    }
    close(ends[0]);
    bool ours = failed == EAGAIN || failed == ENOMEM; /* no process, whatever the program */
    return ours ? FAIL(ST_IO, "cannot start %s: %s", program, strerror(failed)) : ST_OK;
}

/* ---- reading and waiting ---- */

/* Everything up to the end of the output, the limit or the deadline. */
static status read_output(int from, double deadline, size_t limit, tool_result *r, size_t *capacity) {
    for (;;) {
        double left = deadline - time_seconds();
        if (left <= 0) {
            r->end = TOOL_LATE;
            return ST_OK;
        }
        struct pollfd p = {.fd = from, .events = POLLIN};
        int ready = poll(&p, 1, (int)(left < 1 ? left * 1000 + 1 : 1000));
        if (ready == 0 || (ready < 0 && errno == EINTR))
            continue;
        TRY(memory_grow(&r->output, capacity, r->noutput + READ_BYTES + 1, 1));
        ssize_t n = ready < 0 ? -1 : read(from, r->output + r->noutput, READ_BYTES);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return FAIL(ST_IO, "reading a program's output: %s", strerror(errno));
        if (n == 0)
            return ST_OK;
        r->noutput += (size_t)n;
        if (r->noutput > limit) {
            r->noutput = limit;
            r->end = TOOL_TOO_LONG;
            return ST_OK;
        }
    }
}

/* A program may close its output and go on: it is waited for until the deadline only. */
static void wait_for_end(pid_t pid, double deadline, tool_result *r) {
    int how = 0;
    pid_t got = 0;
    while (r->end == TOOL_DONE && (got = waitpid(pid, &how, WNOHANG)) != pid) {
        if (got < 0 && errno != EINTR)
            break; /* somebody else took it: its exit status is not known */
        if (time_seconds() >= deadline)
            r->end = TOOL_LATE;
        nanosleep(&(struct timespec){.tv_nsec = WAIT_MS * 1000000L}, NULL);
    }
    kill(-pid, SIGKILL); /* what it left behind, and itself where it was stopped */
    if (got != pid) {
        while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
            ;
        if (r->end == TOOL_DONE)
            r->end = TOOL_FAILED;
        return;
    }
    r->exit_status = WIFEXITED(how) ? WEXITSTATUS(how) : WIFSIGNALED(how) ? -WTERMSIG(how) : -1;
    if (r->exit_status != 0)
        r->end = TOOL_FAILED;
}

status tool_run(char *const *argv, const char *folder, tool_limits limits, tool_result *r) {
    size_t capacity = 0;
    pid_t pid = 0;
    int from = -1;
    double deadline = time_seconds() + limits.seconds;
    *r = (tool_result){.end = TOOL_MISSING};
    TRY(memory_grow(&r->output, &capacity, 1, 1));
    r->output[0] = 0;
    char *program = tool_find(argv[0]);
    if (!program)
        return ST_OK;
    bool started = false;
    status st = start(program, argv, folder, &from, &pid, &started);
    free(program);
    TRY(st);
    r->end = started ? TOOL_DONE : TOOL_FAILED;
    r->exit_status = started ? 0 : TOOL_CANNOT_RUN;
    if (!started)
        return ST_OK;
    st = read_output(from, deadline, limits.nbytes, r, &capacity);
    if (st)
        r->end = TOOL_FAILED;
    wait_for_end(pid, deadline, r);
    close(from);
    r->output[r->noutput] = 0;
    return st;
}

void tool_clear(tool_result *r) {
    free(r->output);
    *r = (tool_result){0};
}

/* ---- reading the result ---- */

const char *tool_end_text(const tool_result *r, char text[TOOL_END_TEXT]) {
    switch (r->end) {
    case TOOL_MISSING:
        return "not installed";
    case TOOL_LATE:
        return "stopped at the time limit";
    case TOOL_TOO_LONG:
        return "stopped: too much output";
    case TOOL_FAILED:
        snprintf(text, TOOL_END_TEXT, r->exit_status < 0 ? "ended by signal %d" : "ended with status %d",
                 abs(r->exit_status));
        return text;
    case TOOL_DONE:
        break;
    }
    return "done";
}

char *tool_line(char **at) {
    char *line = *at, *end = strchr(line, '\n');
    if (!*line)
        return NULL;
    *at = end ? end + 1 : line + strlen(line);
    if (end)
        *end = 0;
    return line;
}
