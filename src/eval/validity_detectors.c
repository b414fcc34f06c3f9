/* Zeek, Suricata and Scapy: asked where they are in $PATH. */
#include "eval/validity_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"

enum { LOG_MAX = 256 << 20 };

/* A log that a program may have written into t->folder, as text; NULL where it did not. Caller frees. */
static status read_log(const tool_work *t, const char *name, char **text) {
    size_t n;
    char *path = text_format("%s/%s", t->folder, name);
    *text = NULL;
    status st = file_exists(path) ? file_read(path, LOG_MAX, text, &n) : ST_OK;
    free(path);
    return st;
}

static status remove_log(const tool_work *t, const char *name) {
    char *path = text_format("%s/%s", t->folder, name);
    status st = file_remove_tree(path);
    free(path);
    return st;
}

/* ---- Zeek ---- */

enum { ZEEK_CONNECTIONS, ZEEK_OPENED, ZEEK_ENDED, ZEEK_WEIRD, ZEEK_FIGURES };
static const figure zeek_figures[ZEEK_FIGURES] = {
    {"connections", -1, 1, "lines of conn.log, all protocols; packets with wrong checksums are left out of them"},
    {"connections opened", ZEEK_CONNECTIONS, 100, "state S1, S2, S3, SF, RSTO or RSTR: an answered request"},
    {"connections ended", ZEEK_CONNECTIONS, 100, "state SF: opened and closed as it should be"},
    {"oddities per connection", ZEEK_CONNECTIONS, 1, "lines of weird.log"}};

/* Logs are lines of fields between tabs; "#fields" names them (docs.zeek.org, "Zeek log formats"). */
static size_t column_of(const char *fields, const char *name) {
    size_t column = 0;
    for (const char *at = fields; *at; column++) {
        size_t n = strcspn(at, "\t");
        if (n == strlen(name) && !strncmp(at, name, n))
            return column;
        at += n + (at[n] != 0);
    }
    return SIZE_MAX;
}

static bool field_is_one_of(const char *line, size_t column, size_t n, const char *const *values) {
    for (; column > 0 && line; column--) {
        line = strchr(line, '\t');
        line = line ? line + 1 : NULL;
    }
    size_t length = line ? strcspn(line, "\t") : 0;
    for (size_t i = 0; i < n && line; i++)
        if (length == strlen(values[i]) && !strncmp(line, values[i], length))
            return true;
    return false;
}

static void count_connections(char *log, double *x) {
    static const char *const opened[] = {"S1", "S2", "S3", "SF", "RSTO", "RSTR"}, *const ended[] = {"SF"};
    size_t state = SIZE_MAX;
    for (char *line; (line = tool_line(&log));) {
        if (!strncmp(line, "#fields\t", 8))
            state = column_of(line + 8, "conn_state");
        if (*line == '#' || !*line || state == SIZE_MAX)
            continue;
        x[ZEEK_CONNECTIONS]++;
        x[ZEEK_OPENED] += field_is_one_of(line, state, sizeof opened / sizeof *opened, opened);
        x[ZEEK_ENDED] += field_is_one_of(line, state, 1, ended);
    }
}

static status ask_zeek(tool_work *t) {
    const char *argv[] = {"zeek", "-r", t->capture, NULL};
    char *connections = NULL, *weird = NULL;
    bool done;
    TRY(remove_log(t, "conn.log"));
    TRY(remove_log(t, "weird.log"));
    TRY(tool_ask(t, (char *const *)argv, &done));
    status st = done ? read_log(t, "conn.log", &connections) : ST_OK;
    if (!st && done)
        st = read_log(t, "weird.log", &weird);
    if (!st && connections)
        count_connections(connections, t->x);
    char *at = weird;
    for (char *line; !st && at && (line = tool_line(&at));)
        t->x[ZEEK_WEIRD] += *line && *line != '#';
    free(connections);
    free(weird);
    return st;
}

const tool tool_zeek = {"zeek", "zeek -r CAPTURE", ZEEK_FIGURES, zeek_figures, ask_zeek};

/* ---- Suricata ---- */

enum { SURICATA_PACKETS, SURICATA_INVALID, SURICATA_CHECKSUM, SURICATA_SESSIONS, SURICATA_FIGURES };
static const figure suricata_figures[SURICATA_FIGURES] = {
    {"packets", -1, 1, "packets that it decoded"},
    {"packets invalid", SURICATA_PACKETS, 100, "headers that it would not accept"},
    {"TCP checksums wrong", SURICATA_PACKETS, 100, "of all packets"},
    {"TCP sessions", -1, 1, "handshakes that it followed"}};

/* stats.log: "decoder.pkts    | Total    | 8636"; counters of 0 are left out. */
static void count_counters(char *log, double *x) {
    static const char *const names[SURICATA_FIGURES] = {"decoder.pkts", "decoder.invalid", "tcp.invalid_checksum",
                                                        "tcp.sessions"};
    double now[SURICATA_FIGURES] = {0};
    for (char *line; (line = tool_line(&log));) {
        size_t n = strcspn(line, " |");
        const char *value = strrchr(line, '|');
        for (size_t i = 0; i < SURICATA_FIGURES && value; i++)
            if (n == strlen(names[i]) && !strncmp(line, names[i], n))
                now[i] = strtod(value + 1, NULL); /* counters run on: the last table counts */
    }
    for (size_t i = 0; i < SURICATA_FIGURES; i++)
        x[i] += now[i];
}

static status ask_suricata(tool_work *t) {
    const char *argv[] = {"suricata", "-r", t->capture,  "-l",        t->folder, "-k",
                          "all",      "-S", "/dev/null", "--runmode", "single",  NULL};
    char *stats = NULL;
    bool done;
    TRY(remove_log(t, "stats.log")); /* it appends */
    TRY(tool_ask(t, (char *const *)argv, &done));
    status st = done ? read_log(t, "stats.log", &stats) : ST_OK;
    if (!st && stats)
        count_counters(stats, t->x);
    free(stats);
    return st;
}

const tool tool_suricata = {"suricata", "suricata -r CAPTURE -l FOLDER -k all -S /dev/null", SURICATA_FIGURES,
                            suricata_figures, ask_suricata};

/* ---- Scapy ---- */

enum { SCAPY_PACKETS, SCAPY_SAME, SCAPY_FIGURES };
static const figure scapy_figures[SCAPY_FIGURES] = {
    {"packets dissected", -1, 1, "whole IPv4 packets, at most 3,000: it is slow"},
    {"packets built the same again", SCAPY_PACKETS, 100,
     "every length, header length and checksum left out and computed anew gives the same bytes"}};

static const char scapy_program[] = "import sys\n"
                                    "try:\n"
                                    "    from scapy.layers.l2 import Ether\n"
                                    "    from scapy.layers.inet import IP, TCP, UDP, ICMP\n"
                                    "    from scapy.utils import PcapReader\n"
                                    "except ImportError:\n"
                                    "    print('missing'); sys.exit(0)\n"
                                    "seen = same = 0\n"
                                    "for frame in PcapReader(sys.argv[1]):\n"
                                    "    if seen == 3000: break\n"
                                    "    if IP not in frame: continue\n"
                                    "    p = frame[IP]\n"
                                    "    if len(p) < p.len: continue\n"
                                    "    seen += 1\n"
                                    "    before = bytes(p)[:p.len]\n"
                                    "    try:\n"
                                    "        q = IP(before)\n"
                                    "        del q.len, q.ihl, q.chksum\n"
                                    "        if TCP in q: del q[TCP].chksum, q[TCP].dataofs\n"
                                    "        elif UDP in q:\n"
                                    "            if q[UDP].chksum: del q[UDP].chksum\n"
                                    "            del q[UDP].len\n"
                                    "        elif ICMP in q: del q[ICMP].chksum\n"
                                    "        same += bytes(q) == before\n"
                                    "    except Exception: pass\n"
                                    "print(seen, same)\n";

static status ask_scapy(tool_work *t) {
    const char *argv[] = {"python3", "-c", scapy_program, t->capture, NULL};
    bool done;
    TRY(tool_ask(t, (char *const *)argv, &done));
    if (done && !strncmp(t->result->output, "missing", 7)) {
        t->result->end = TOOL_MISSING;
    } else if (done) {
        char *rest;
        t->x[SCAPY_PACKETS] += strtod(t->result->output, &rest);
        t->x[SCAPY_SAME] += strtod(rest, NULL);
    }
    return ST_OK;
}

const tool tool_scapy = {"scapy", "python3 with scapy: dissect, delete lengths and checksums, build again",
                         SCAPY_FIGURES, scapy_figures, ask_scapy};
