/* Programs that read captures offline, and what is counted of their output: capinfos, tcptrace, tcprewrite, tcpprep,
 * p0f, nDPI. tshark has a file of its own; detectors that are rarely installed are in validity_detectors.c.
 *
 * The formats are those of the versions in Debian 12; where a version prints something else a figure stays 0 and the
 * program's own count of packets says so. */
#include "eval/validity_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "io/capture.h"

/* Some programs never end on random bytes; that says enough, and need not be waited for long. */
enum { TOOL_SECONDS = 20, TOOL_SECONDS_RANDOM = 5, TOOL_BYTES = 128 << 20 };

status tool_ask(tool_work *t, char *const *argv, bool *done) {
    double seconds = t->s == SUBJECT_RANDOM ? TOOL_SECONDS_RANDOM : TOOL_SECONDS;
    status st = tool_run(argv, t->folder, (tool_limits){seconds, TOOL_BYTES}, t->result);
    *done = !st && t->result->end == TOOL_DONE;
    return st;
}

/* ---- capinfos ---- */

enum { CAPINFOS_PACKETS, CAPINFOS_BYTES, CAPINFOS_SECONDS, CAPINFOS_FILES, CAPINFOS_ORDERED, CAPINFOS_FIGURES };
static const figure capinfos_figures[CAPINFOS_FIGURES] = {
    {"packets", -1, 1, "records in the capture"},
    {"bytes per packet", CAPINFOS_PACKETS, 1, "mean, from the Ethernet header on"},
    {"milliseconds per packet", CAPINFOS_PACKETS, 1000, "length of the capture: depends on how many flows overlap"},
    {"captures", -1, 1, "files that were shown to the programs"},
    {"captures in order of time", CAPINFOS_FILES, 100, "in any other order a replay would stall"}};

/* name, packets, data bytes, seconds, "True" or "False", separated by tabs */
static status ask_capinfos(tool_work *t) {
    const char *argv[] = {"capinfos", "-T", "-r", "-c", "-d", "-u", "-o", t->capture, NULL};
    bool done;
    double packets, bytes, seconds;
    char order[8] = "";
    TRY(tool_ask(t, (char *const *)argv, &done));
    const char *rest = done ? strchr(t->result->output, '\t') : NULL;
    if (rest && sscanf(rest, "%lf %lf %lf %7s", &packets, &bytes, &seconds, order) == 4) {
        t->x[CAPINFOS_PACKETS] += packets;
        t->x[CAPINFOS_BYTES] += bytes;
        t->x[CAPINFOS_SECONDS] += seconds;
        t->x[CAPINFOS_ORDERED] += !strcmp(order, "True");
    }
    t->x[CAPINFOS_FILES] += done;
    return ST_OK;
}

static const tool tool_capinfos = {"capinfos", "capinfos -c -d -u -o CAPTURE", CAPINFOS_FIGURES, capinfos_figures,
                                   ask_capinfos};

/* ---- tcptrace ---- */

enum {
    TCPTRACE_CONNECTIONS,
    TCPTRACE_PACKETS,
    TCPTRACE_COMPLETE,
    TCPTRACE_RESET,
    TCPTRACE_OPENED,
    TCPTRACE_REPEATED,
    TCPTRACE_DISORDER,
    TCPTRACE_FIGURES
};
static const figure tcptrace_figures[TCPTRACE_FIGURES] = {
    {"TCP connections", -1, 1, "conversations that it put together"},
    {"TCP packets", -1, 1, "packets of these connections"},
    {"connections complete", TCPTRACE_CONNECTIONS, 100,
     "SYN and FIN of both sides seen: flows cut at the window have none"},
    {"connections reset", TCPTRACE_CONNECTIONS, 100, "ended by RST"},
    {"connections with both SYNs", TCPTRACE_CONNECTIONS, 100, "opened by a handshake, complete or not"},
    {"packets sent again", TCPTRACE_PACKETS, 100, "retransmitted data"},
    {"packets out of order", TCPTRACE_PACKETS, 100, ""}};

/* "name:  A   name:  B" for the two directions. */
static double both_directions(const char *line, const char *name) {
    double sum = 0;
    size_t n = strlen(name);
    for (const char *at = line; (at = strstr(at, name)); at += n)
        sum += strtod(at + n, NULL);
    return sum;
}

static void count_tcptrace(const char *line, double *x) {
    const char *end = strstr(line, "complete conn:");
    if (end) {
        const char *how = end + strlen("complete conn:");
        bool complete = strstr(how, "yes") != NULL;
        x[TCPTRACE_CONNECTIONS]++;
        x[TCPTRACE_COMPLETE] += complete;
        x[TCPTRACE_RESET] += strstr(how, "RESET") != NULL;
        x[TCPTRACE_OPENED] += complete || strstr(how, "(SYNs: 2)");
    }
    if (!strncmp(line, "\ttotal packets:", 15))
        x[TCPTRACE_PACKETS] += strtod(line + 15, NULL);
    x[TCPTRACE_REPEATED] += both_directions(line, "rexmt data pkts: ");
    x[TCPTRACE_DISORDER] += both_directions(line, "outoforder pkts: ");
}

static status ask_tcptrace(tool_work *t) {
    const char *argv[] = {"tcptrace", "-n", "-l", t->capture, NULL};
    bool done;
    TRY(tool_ask(t, (char *const *)argv, &done));
    char *at = t->result->output;
    for (char *line; done && (line = tool_line(&at));)
        count_tcptrace(line, t->x);
    return ST_OK;
}

static const tool tool_tcptrace = {"tcptrace", "tcptrace -n -l CAPTURE", TCPTRACE_FIGURES, tcptrace_figures,
                                   ask_tcptrace};

/* ---- tcprewrite ---- */

enum { TCPREWRITE_PACKETS, TCPREWRITE_CHANGED, TCPREWRITE_FIGURES };
static const figure tcprewrite_figures[TCPREWRITE_FIGURES] = {
    {"packets rewritten", -1, 1, "whole packets that it parsed and wrote again"},
    {"packets changed", TCPREWRITE_PACKETS, 100,
     "an independent computation of every checksum gave another value; of rewritten flows 0 by construction"}};

static status compare_captures(capture *a, capture *b, double *x) {
    for (;;) {
        capture_record p, q;
        bool end_a, end_b;
        TRY(capture_next(a, &p, &end_a));
        TRY(capture_next(b, &q, &end_b));
        if (end_a || end_b)
            return ST_OK;
        if (p.caplen < p.wire_len) /* a checksum of what is not there */
            continue;
        x[TCPREWRITE_PACKETS]++;
        x[TCPREWRITE_CHANGED] += p.caplen != q.caplen || memcmp(p.bytes, q.bytes, p.caplen) != 0;
    }
}

static status ask_tcprewrite(tool_work *t) {
    capture *before = NULL, *after = NULL;
    char *output = text_format("%s/rewritten.pcap", t->folder), *in = text_format("--infile=%s", t->capture),
         *out = text_format("--outfile=%s", output);
    const char *argv[] = {"tcprewrite", "--fixcsum", in, out, NULL};
    bool done;
    status st = tool_ask(t, (char *const *)argv, &done);
    if (!st && done)
        st = capture_open(&before, t->capture);
    if (!st && done)
        st = capture_open(&after, output);
    if (!st && done)
        st = compare_captures(before, after, t->x);
    if (done && (st == ST_FORMAT || st == ST_IO)) { /* it wrote something else than a capture */
        t->result->end = TOOL_FAILED;
        st = ST_OK;
    }
    capture_close(&before);
    capture_close(&after);
    free(output);
    free(in);
    free(out);
    return st;
}

static const tool tool_tcprewrite = {"tcprewrite", "tcprewrite --fixcsum --infile=CAPTURE --outfile=OTHER",
                                     TCPREWRITE_FIGURES, tcprewrite_figures, ask_tcprewrite};

/* ---- tcpprep ---- */

enum { TCPPREP_PACKETS, TCPPREP_CLIENT, TCPPREP_FIGURES };
static const figure tcpprep_figures[TCPPREP_FIGURES] = {
    {"packets divided", -1, 1, "packets of the cache that tcpreplay would send; proves little: random bytes pass too"},
    {"packets of clients", TCPPREP_PACKETS, 100,
     "of those who sent a first packet; --auto=bridge stops at packets without payload"}};

static status ask_tcpprep(tool_work *t) {
    char *cache = text_format("--cachefile=%s/hosts.cache", t->folder), *in = text_format("--pcap=%s", t->capture),
         *print = text_format("--print-stats=%s/hosts.cache", t->folder);
    const char *make[] = {"tcpprep", "--auto=first", in, cache, NULL}, *show[] = {"tcpprep", print, NULL};
    bool done;
    status st = tool_ask(t, (char *const *)make, &done);
    if (!st && done) {
        tool_clear(t->result);
        st = tool_ask(t, (char *const *)show, &done);
    }
    char *at = t->result->output;
    for (char *line; !st && done && (line = tool_line(&at));) {
        if (!strncmp(line, "Primary packets:", 16))
            t->x[TCPPREP_CLIENT] += strtod(line + 16, NULL);
        if (!strncmp(line, "Total packets:", 14))
            t->x[TCPPREP_PACKETS] += strtod(line + 14, NULL);
    }
    free(cache);
    free(in);
    free(print);
    return st;
}

static const tool tool_tcpprep = {"tcpprep", "tcpprep --auto=first --pcap=CAPTURE --cachefile=CACHE", TCPPREP_FIGURES,
                                  tcpprep_figures, ask_tcpprep};

/* ---- p0f ---- */

enum { P0F_SYNS, P0F_KNOWN, P0F_ANSWERS, P0F_ANSWERS_KNOWN, P0F_FIGURES };
static const figure p0f_figures[P0F_FIGURES] = {
    {"SYNs", -1, 1, "connection requests that it looked at"},
    {"SYNs recognised", P0F_SYNS, 100, "window, options, TTL and MSS together are those of a known system"},
    {"SYN+ACKs", -1, 1, "answers that it looked at"},
    {"SYN+ACKs recognised", P0F_ANSWERS, 100, "as for SYNs"}};

static status ask_p0f(tool_work *t) {
    const char *argv[] = {"p0f", "-r", t->capture, NULL};
    bool done, syn = false, answer = false;
    TRY(tool_ask(t, (char *const *)argv, &done));
    char *at = t->result->output;
    for (char *line; done && (line = tool_line(&at));) {
        if (!strncmp(line, ".-[", 3)) {
            syn = strstr(line, "(syn)") != NULL;
            answer = strstr(line, "(syn+ack)") != NULL;
            t->x[P0F_SYNS] += syn;
            t->x[P0F_ANSWERS] += answer;
        }
        if (!strncmp(line, "| os ", 5)) {
            bool known = !strstr(line, "= ???");
            t->x[P0F_KNOWN] += syn && known;
            t->x[P0F_ANSWERS_KNOWN] += answer && known;
        }
    }
    return ST_OK;
}

static const tool tool_p0f = {"p0f", "p0f -r CAPTURE", P0F_FIGURES, p0f_figures, ask_p0f};

/* ---- nDPI ---- */

enum { NDPI_FLOWS, NDPI_DPI, NDPI_PORT, NDPI_UNKNOWN, NDPI_FIGURES };
static const figure ndpi_figures[NDPI_FIGURES] = {
    {"flows", -1, 1, "flows that it put together"},
    {"flows told by content", NDPI_FLOWS, 100, "by the messages of the services that payload is made for"},
    {"flows told by port or address", NDPI_FLOWS, 100, "guessed by ports and addresses"},
    {"flows unknown", NDPI_FLOWS, 100, ""}};

/* "   DNS    packets: 404    bytes: 37856    flows: 24" */
static status count_protocol(tool_work *t, char *line) {
    char *packets = strstr(line, " packets:"), *flows = packets ? strstr(packets, "flows:") : NULL;
    if (!flows)
        return ST_OK;
    while (packets > line && (packets[-1] == ' ' || packets[-1] == '\t'))
        packets--;
    *packets = 0;
    return name_counts_add(t->names, line + strspn(line, "\t "), t->s, strtod(flows + 6, NULL));
}

static status ask_ndpi(tool_work *t) {
    const char *argv[] = {"ndpiReader", "-i", t->capture, NULL};
    bool done, protocols = false;
    TRY(tool_ask(t, (char *const *)argv, &done));
    char *at = t->result->output;
    for (char *line; done && (line = tool_line(&at));) {
        const char *flows = strstr(line, "Unique flows:"), *how = strstr(line, "Confidence:");
        if (flows)
            t->x[NDPI_FLOWS] += strtod(flows + 13, NULL);
        if (how) { /* "Confidence: Match by port 126    (flows)": the number follows the words */
            size_t words = strcspn(how, "0123456789");
            double n = strtod(how + words, NULL);
            t->x[strstr(how, "Unknown") ? NDPI_UNKNOWN : strstr(how, ": DPI") ? NDPI_DPI : NDPI_PORT] += n;
        }
        protocols = (protocols && *line) || !strncmp(line, "Detected protocols:", 19);
        if (protocols)
            TRY(count_protocol(t, line));
    }
    return ST_OK;
}

static const tool tool_ndpi = {"ndpiReader", "ndpiReader -i CAPTURE", NDPI_FIGURES, ndpi_figures, ask_ndpi};

/* ---- all ---- */

const tool *const tools[] = {&tool_tshark, &tool_capinfos, &tool_tcptrace, &tool_tcprewrite, &tool_tcpprep,
                             &tool_p0f,    &tool_ndpi,     &tool_zeek,     &tool_suricata,   &tool_scapy};
const size_t ntools = sizeof tools / sizeof *tools;
