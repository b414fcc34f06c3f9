/* peak_memory MEGABYTES COMMAND...: run the command and fail if its resident set was ever larger. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    int code = 0;
    struct rusage used;
    if (child < 0 || wait4(child, &code, 0, &used) != child)
        return 1;
    long limit = strtol(argv[1], NULL, 10), megabytes = used.ru_maxrss / 1024;
    fprintf(stderr, "peak memory: %ld MB\n", megabytes);
#if defined(__SANITIZE_ADDRESS__)
    limit = LONG_MAX; /* its own memory counts too */
#endif
    if (megabytes > limit) {
        fprintf(stderr, "peak memory is above %ld MB\n", limit);
        return 1;
    }
    return WIFEXITED(code) ? WEXITSTATUS(code) : 1;
}
