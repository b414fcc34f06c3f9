/* What tshark's expert system says of a capture, for the summary.
 *
 * Severities are asked for packet by packet. The expert tap (-z expert) would be shorter, but it does not build the
 * packets' trees and misses what dissectors find late. */
#include "eval/eval_priv.h"

#include <stdlib.h>
#include "eval/tools.h"

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

status summary_tshark(const char *capture, expert_counts *counts) {
    static const tool_limits limits = {.seconds = 120, .nbytes = (size_t)1 << 28};
    const char *const argv[] = {"tshark", "-n",
                                "-r",     capture,
                                "-T",     "fields",
                                "-e",     "_ws.expert.severity",
                                "-o",     "ip.check_checksum:TRUE",
                                "-o",     "tcp.check_checksum:TRUE",
                                "-o",     "udp.check_checksum:TRUE",
                                NULL};
    tool_result result;
    *counts = (expert_counts){0};
    status st = tool_run((char *const *)argv, NULL, limits, &result);
    if (!st && result.end == TOOL_DONE) {
        char *at = result.output;
        for (const char *line; (line = tool_line(&at)) != NULL;)
            count_line(line, counts);
        counts->known = true;
    }
    tool_clear(&result);
    return st;
}
