/* Errors. A failure of the world (file, packet, memory, peer) is a status returned upward; a failure of ours is ASSERT.
 *
 * The first to know calls FAIL with values; everyone above passes the status on with TRY. FAIL records its message for
 * this thread and prints nothing: the program's last act (comm_finish) prints one message for the whole job. */
#ifndef ND_BASE_STATUS_H
#define ND_BASE_STATUS_H

typedef enum status {
    ST_OK = 0,
    ST_USAGE,   /* wrong option or configuration: exit 2 */
    ST_IO,      /* file system: missing, unreadable, full */
    ST_FORMAT,  /* bytes that are not what they should be */
    ST_RANGE,   /* a value or size outside what is supported */
    ST_MEMORY,  /* allocation failed */
    ST_COMM,    /* a peer or the message layer failed */
    ST_LIBRARY, /* a library call failed for a reason of its own */
    ST_STOPPED, /* asked to stop, a valid checkpoint was written: exit 75 */
    ST_COUNT
} status;

const char *status_name(status st);

/* Exit code of a program that ends with st: 0, 1, 2 (ST_USAGE) or 75 (ST_STOPPED). */
int status_exit_code(status st);

/* Record a printf-style message as this thread's error and return st. Use through FAIL. */
status status_fail(status st, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The message of the latest FAIL of this thread ("" if none); valid until the next FAIL. Includes no newline. */
const char *status_message(void);

/* Replace the recorded message (used to pass an error from a worker thread or a peer on). */
void status_set_message(const char *message);

void status_assert_failed(const char *expression, const char *file, int line) __attribute__((noreturn));

/* Its second argument: lets the compiler see the value of FAIL, so that it does not warn of results left unset by a
 * call that failed. */
static inline status status_after(status recorded, status st) {
    (void)recorded;
    return st;
}

#define FAIL(st, ...) status_after(status_fail((st), __FILE__, __LINE__, __VA_ARGS__), (st))

#define TRY(expression)                                                                                                \
    do {                                                                                                               \
        status try_st_ = (expression);                                                                                 \
        if (try_st_ != ST_OK)                                                                                          \
            return try_st_;                                                                                            \
    } while (0)

/* The same inside set-up that unwinds: the enclosing function declares `status st`. */
#define TRY_TO(label, expression)                                                                                      \
    do {                                                                                                               \
        st = (expression);                                                                                             \
        if (st != ST_OK)                                                                                               \
            goto label;                                                                                                \
    } while (0)

#define ASSERT(expression) ((expression) ? (void)0 : status_assert_failed(#expression, __FILE__, __LINE__))

#endif
