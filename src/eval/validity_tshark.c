/* tshark's view of a capture: expert information, checksums, and what its TCP analysis marks. */
#include "eval/validity_priv.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { SEVERITY_CHAT = 0x200000, SEVERITY_NOTE = 0x400000, SEVERITY_WARNING = 0x600000, SEVERITY_ERROR = 0x800000 };
enum {
    FIELD_SEVERITY,
    FIELD_MESSAGE,
    FIELD_CHECKSUM,
    CHECKSUM_FIELDS = 4,
    FIELD_MARK = FIELD_CHECKSUM + CHECKSUM_FIELDS
};

const char *const tshark_marks[] = {"retransmission", "fast_retransmission", "spurious_retransmission",
                                    "out_of_order",   "lost_segment",        "ack_lost_segment",
                                    "duplicate_ack",  "window_update",       "window_full",
                                    "zero_window",    "zero_window_probe",   "zero_window_probe_ack",
                                    "keep_alive",     "keep_alive_ack",      "reused_ports"};
enum { MARKS = sizeof tshark_marks / sizeof *tshark_marks, FIELDS = FIELD_MARK + MARKS };
const size_t tshark_nmarks = MARKS;

static const figure figures[TSHARK_MARKS + MARKS] = {
    [TSHARK_PACKETS] = {"packets", -1, 1, "packets that tshark dissected"},
    [TSHARK_ERRORS] = {"errors", TSHARK_PACKETS, 1000, "malformed packets, wrong checksums"},
    [TSHARK_WARNINGS] = {"warnings", TSHARK_PACKETS, 1000,
                         "unusual: resets, gaps; messages that are none of their service"},
    [TSHARK_NOTES] = {"notes", TSHARK_PACKETS, 1000, "unusual but common: retransmissions, duplicate ACKs"},
    [TSHARK_CHATS] = {"chats", TSHARK_PACKETS, 1000, "usual events: connections opened and closed"},
    [TSHARK_CHECKSUMS] = {"checksums", -1, 1, "checksums that tshark computed"},
    [TSHARK_WRONG_PACKETS] = {"packets with an error", TSHARK_PACKETS, 100, "one or more of them"},
    [TSHARK_CHECKSUMS_RIGHT] = {"checksums right", TSHARK_CHECKSUMS, 100, "of rewritten flows by construction"},
};

/* The next field of a line (values of one packet stand between bytes 1); "" past the end. */
static char *next_field(char **at) {
    char *field = *at, *end = field + strcspn(field, "\t");
    *at = *end ? end + 1 : end;
    *end = 0;
    return field;
}

static char *next_value(char **at) {
    char *value = *at, *end = value + strcspn(value, "\1");
    *at = *end ? end + 1 : end;
    *end = 0;
    return value;
}

/* Numbers (of frames, ports, duplicates) as N: messages are counted by what they say. */
static void replace_numbers(char *text) {
    char *to = text;
    for (const char *from = text; *from;) {
        bool number = isdigit((unsigned char)*from);
        *to++ = number ? 'N' : *from;
        from++;
        while (number && isdigit((unsigned char)*from))
            from++;
    }
    *to = 0;
}

static status count_message(tool_work *t, unsigned long severity, char *message) {
    static const struct {
        unsigned long severity;
        int figure;
        const char *name;
    } kinds[] = {{SEVERITY_ERROR, TSHARK_ERRORS, "error"},
                 {SEVERITY_WARNING, TSHARK_WARNINGS, "warning"},
                 {SEVERITY_NOTE, TSHARK_NOTES, "note"},
                 {SEVERITY_CHAT, TSHARK_CHATS, "chat"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (kinds[i].severity != severity)
            continue;
        t->x[kinds[i].figure]++;
        replace_numbers(message);
        char name[160] = "";
        strncat(strcat(strcpy(name, kinds[i].name), ": "), message, sizeof name - 16);
        TRY(name_counts_add(t->names, name, t->s, 1));
    }
    return ST_OK;
}

/* 0 wrong, 1 right, 4 impossible (a UDP checksum of 0 over IPv6); others were not computed. Later versions write words.
 */
static void count_checksum(const char *s, double *x) {
    bool right = *s == '1' || *s == 'G', wrong = *s == '0' || *s == '4' || *s == 'B' || *s == 'I';
    x[TSHARK_CHECKSUMS] += right || wrong;
    x[TSHARK_CHECKSUMS_RIGHT] += right;
}

static status count_packet(tool_work *t, char *line) {
    char *severities = next_field(&line), *messages = next_field(&line);
    bool wrong = false;
    t->x[TSHARK_PACKETS]++;
    while (*severities) {
        unsigned long severity = strtoul(next_value(&severities), NULL, 0);
        wrong = wrong || severity == SEVERITY_ERROR;
        TRY(count_message(t, severity, next_value(&messages)));
    }
    t->x[TSHARK_WRONG_PACKETS] += wrong;
    for (int i = 0; i < CHECKSUM_FIELDS; i++)
        count_checksum(next_field(&line), t->x);
    for (size_t i = 0; i < MARKS; i++)
        t->x[TSHARK_MARKS + i] += *next_field(&line) != 0;
    return ST_OK;
}

static status ask_tshark(tool_work *t) {
    static const char *const fields[FIELD_MARK] = {"_ws.expert.severity", "_ws.expert.message",
                                                   "ip.checksum.status",  "tcp.checksum.status",
                                                   "udp.checksum.status", "icmp.checksum.status"};
    const char *argv[16 + 2 * FIELDS] = {"tshark", "-n",
                                         "-r",     t->capture,
                                         "-T",     "fields",
                                         "-E",     "aggregator=\1",
                                         "-o",     "ip.check_checksum:TRUE",
                                         "-o",     "tcp.check_checksum:TRUE",
                                         "-o",     "udp.check_checksum:TRUE"};
    char names[MARKS][48] = {{0}};
    size_t n = 14;
    for (size_t i = 0; i < FIELDS; i++) {
        argv[n++] = "-e";
        if (i >= FIELD_MARK)
            strncat(strcpy(names[i - FIELD_MARK], "tcp.analysis."), tshark_marks[i - FIELD_MARK], 32);
        argv[n++] = i < FIELD_MARK ? fields[i] : names[i - FIELD_MARK];
    }
    bool done;
    TRY(tool_ask(t, (char *const *)argv, &done));
    char *at = t->result->output;
    for (char *line; done && (line = tool_line(&at));)
        TRY(count_packet(t, line));
    return ST_OK;
}

const tool tool_tshark = {"tshark",
                          "tshark -n -r CAPTURE -o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE "
                          "-o udp.check_checksum:TRUE -z expert",
                          TSHARK_MARKS + MARKS, figures, ask_tshark};
