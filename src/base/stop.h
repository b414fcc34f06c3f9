/* SIGTERM and SIGUSR1 ask the program to write a checkpoint and leave with status 75. */
#ifndef ND_BASE_STOP_H
#define ND_BASE_STOP_H

#include <stdbool.h>

/* Before any thread is started: threads inherit the blocked signals. A program that is spawned must reset its mask. */
void stop_install(void);

/* Whether one of them has come. One system call; the answer stays true. */
bool stop_requested(void);

#endif
