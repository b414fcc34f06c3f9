/* What tshark's expert system says of captures, for the summary.
 *
 * Severities are asked for packet by packet. The expert tap (-z expert) would be shorter, but it does not build the
 * packets' trees and misses what dissectors find late. tshark takes longer to start than to read a small capture, so
 * captures are shown to it one behind another in one file, and told apart by the numbers of their packets. */
#include "eval/eval_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/memory.h"
#include "eval/tools.h"

enum { TOGETHER_MAX = 64 << 20 }; /* bytes of captures that one run is shown */

/* A line a packet: its items' severities, separated by commas. */
static void count_line(const char *line, expert_counts *counts) {
    enum { SEVERITY_WARNING = 0x600000, SEVERITY_ERROR = 0x800000 };
    counts->packets++;
    for (char *end; *line; line = *end ? end + 1 : end) {
        unsigned long severity = strtoul(line, &end, 0);
        if (end == line)
            return;
        counts->errors += severity == SEVERITY_ERROR;
        counts->warnings += severity == SEVERITY_WARNING;
    }
}

/* Captures one behind another: packets of captures[i] end at end[i]. */
static status ask(const char *file, size_t n, const double *end, expert_counts *counts) {
    static const tool_limits limits = {.seconds = 120, .nbytes = (size_t)1 << 28};
    const char *const argv[] = {"tshark", "-n",
                                "-r",     file,
                                "-T",     "fields",
                                "-e",     "_ws.expert.severity",
                                "-o",     "ip.check_checksum:TRUE",
                                "-o",     "tcp.check_checksum:TRUE",
                                "-o",     "udp.check_checksum:TRUE",
                                NULL};
    tool_result result;
    status st = tool_run((char *const *)argv, NULL, limits, &result);
    if (!st && result.end == TOOL_DONE) {
        char *at = result.output;
        double number = 0;
        size_t i = 0;
        for (const char *line; (line = tool_line(&at)) != NULL; number++) {
            while (end && i + 1 < n && number >= end[i])
                i++;
            count_line(line, &counts[i]);
        }
        bool all = !end || number == end[n - 1]; /* a line for every packet, or they are not told apart */
        for (i = 0; i < n; i++) {
            counts[i] = all ? counts[i] : (expert_counts){0};
            counts[i].known = all;
        }
    }
    tool_clear(&result);
    return st;
}

/* Append a capture's records. *fits: it is whole, and all of one link type, the file's (-1: not yet known). */
static status append(const char *path, FILE *to, int *link_type, double *npackets, bool *fits) {
    capture *c = NULL;
    *fits = capture_open(&c, path) == ST_OK; /* what cannot be read here tshark may read */
    if (!*fits)
        return ST_OK;
    status st = ST_OK;
    bool good = true, end = false;
    if (*link_type < 0) {
        *link_type = capture_link_type(c);
        good = pcap_put_header(to, *link_type);
    }
    while (good && *fits) {
        capture_record r;
        st = capture_next(c, &r, &end);
        if (st || end)
            break;
        *fits = r.link_type == *link_type;
        good = pcap_put_record(to, &r);
        ++*npackets;
    }
    if (!good)
        st = FAIL(ST_IO, "a temporary capture cannot be written: %s", strerror(errno));
    *fits = *fits && !capture_damage(c);
    capture_close(&c);
    return st;
}

static status append_all(size_t n, const char *const *captures, FILE *to, double *end, bool *fits) {
    int link_type = -1;
    double npackets = 0;
    *fits = true;
    for (size_t i = 0; i < n && *fits; i++) {
        TRY(append(captures[i], to, &link_type, &npackets, fits));
        end[i] = npackets;
    }
    return ST_OK;
}

static status ask_together(size_t n, const char *const *captures, expert_counts *counts) {
    const char *base = getenv("TMPDIR");
    char *file = text_format("%s/nd-summary-XXXXXX", base && *base ? base : "/tmp");
    double *end = NULL;
    bool fits = false;
    int fd = mkstemp(file);
    FILE *to = fd < 0 ? NULL : fdopen(fd, "wb");
    status st = to ? NEW(n, &end) : FAIL(ST_IO, "%s: cannot make a temporary file: %s", file, strerror(errno));
    if (!st)
        st = append_all(n, captures, to, end, &fits);
    if (to && fclose(to) && !st)
        st = FAIL(ST_IO, "%s: cannot write: %s", file, strerror(errno));
    else if (!to && fd >= 0)
        close(fd);
    if (!st && fits)
        st = ask(file, n, end, counts);
    if (fd >= 0)
        (void)unlink(file);
    memory_free(&end);
    free(file);
    return st;
}

status summary_tshark(size_t n, const char *const *captures, bool apart, expert_counts *counts) {
    for (size_t from = 0, to; from < n; from = to) {
        uint64_t sum = 0, nbytes;
        for (to = from; to < n && (to == from || !apart); to++) {
            TRY(file_size(captures[to], &nbytes));
            if (to > from && sum + nbytes > TOGETHER_MAX)
                break;
            sum += nbytes;
        }
        for (size_t i = from; i < to; i++)
            counts[i] = (expert_counts){0};
        if (to - from > 1)
            TRY(ask_together(to - from, captures + from, counts + from));
        for (size_t i = from; i < to; i++) /* one that holds up the others, or is alone */
            if (!counts[i].known)
                TRY(ask(captures[i], 1, NULL, &counts[i]));
    }
    return ST_OK;
}
