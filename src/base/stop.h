/* SIGTERM and SIGUSR1 ask the program to write a checkpoint and leave with status 75. */
#ifndef ND_BASE_STOP_H
#define ND_BASE_STOP_H

#include <stdbool.h>

void stop_install(void);
bool stop_requested(void);

#endif
