/* Progress lines: "encode: 1200 of 5000 flows, 310 flows/s, 12 s left, DETAIL". */
#include "base/progress.h"

#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/log_priv.h"

static const double SECONDS_TERMINAL = 0.2, SECONDS_FILE = 30;

double time_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static bool is_shown(void) {
    return log_job_rank() == 0 && !log_is_quiet();
}

static void format_duration(double seconds, char *text, size_t nbytes) {
    unsigned long long s = seconds < 1e9 ? (unsigned long long)(seconds + 0.5) : 1000000000ull;
    if (s < 100)
        snprintf(text, nbytes, "%llu s", s);
    else if (s < 3600)
        snprintf(text, nbytes, "%llu min %02llu s", s / 60, s % 60);
    else
        snprintf(text, nbytes, "%llu h %02llu min", s / 3600, s / 60 % 60);
}

static void format_rate(double rate, char *text, size_t nbytes) {
    if (rate >= 10)
        snprintf(text, nbytes, "%.0f", rate);
    else
        snprintf(text, nbytes, "%.2g", rate);
}

static void format_line(const progress *p, double now, const char *detail, char *line, size_t nbytes) {
    double elapsed = now - p->started;
    double rate = elapsed > 0 ? (double)(p->done - p->at_start) / elapsed : 0;
    char rate_text[32], left_text[48] = "", of_total[48] = "";
    format_rate(rate, rate_text, sizeof rate_text);
    if (p->total > 0)
        snprintf(of_total, sizeof of_total, " of %llu", (unsigned long long)p->total);
    if (p->total > p->done && rate > 0) {
        char duration[32];
        format_duration((double)(p->total - p->done) / rate, duration, sizeof duration);
        snprintf(left_text, sizeof left_text, ", %s left", duration);
    }
    snprintf(line, nbytes, "%s: %llu%s %s, %s %s/s%s%s%s", p->what, (unsigned long long)p->done, of_total, p->unit,
             rate_text, p->unit, left_text, detail ? ", " : "", detail ? detail : "");
}

void progress_start(progress *p, const char *what, const char *unit, uint64_t done, uint64_t total) {
    double now = time_seconds();
    *p = (progress){
        .what = what, .unit = unit, .total = total, .done = done, .at_start = done, .started = now, .shown = now};
}

void progress_update(progress *p, uint64_t done, const char *detail) {
    p->done = done;
    if (!is_shown())
        return;
    double now = time_seconds();
    bool terminal = isatty(STDERR_FILENO);
    if (now - p->shown < (terminal ? SECONDS_TERMINAL : SECONDS_FILE))
        return;
    p->shown = now;
    char line[512];
    format_line(p, now, detail, line, sizeof line);
    if (terminal)
        log_status_line(line, false);
    else
        log_job("%s", line);
}

void progress_end(progress *p) {
    double now = time_seconds(), elapsed = now - p->started;
    /* Work of a moment needs no closing line. */
    if (!is_shown() || elapsed < 1)
        return;
    char line[512], duration[32];
    format_duration(elapsed, duration, sizeof duration);
    format_line(p, now, NULL, line, sizeof line);
    bool terminal = isatty(STDERR_FILENO);
    char whole[640];
    snprintf(whole, sizeof whole, "%s, took %s", line, duration);
    if (terminal)
        log_status_line(whole, true);
    else
        log_job("%s", whole);
}
