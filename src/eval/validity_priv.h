/* Inside the validity part: three kinds of captures, the programs that are shown them, and what these say.
 *
 * Every rank runs its share of the programs, each over captures in a folder of its own; figures are numbers that ranks
 * add up, and named counts that rank 0 gathers as text. */
#ifndef ND_EVAL_VALIDITY_PRIV_H
#define ND_EVAL_VALIDITY_PRIV_H

#include "base/config.h"
#include "eval/report.h"
#include "eval/tools.h"
#include "eval/world.h"

/* ---- validity_captures.c ---- */

/* What a program is shown. Real: held-out flows, label by label as many as there are synthetic ones, written anew with
 * the payload of payload.h and the checksums that go with it. Random: the control, with zeros. */
typedef enum subject { SUBJECT_SYNTHETIC, SUBJECT_REAL, SUBJECT_RANDOM, SUBJECTS } subject;
extern const char *const subject_names[SUBJECTS];

typedef struct flow_pick {
    size_t n, capacity;
    const flow **flows; /* the world's */
    uint64_t packets, bytes;
    double seconds; /* sum of the flows' durations */
} flow_pick;

/* Flows of a subject, of each class as many as the smaller of held-out and synthetic flows has, so that the mix of
 * classes makes no difference; all, where no class is on both sides. Local; release with flow_pick_clear. */
status flow_pick_alike(const eval_world *w, subject s, flow_pick *p);
void flow_pick_clear(flow_pick *p);

/* Captures of a subject in `folder`: those that came (as plain pcap files, packet for packet, and so many packets as
 * programs get through in their time), or one made of the flows. Local; release with text_list_clear. */
status captures_make(const eval_world *w, subject s, const char *folder, text_list *captures);

/* ---- validity_tools.c, validity_tshark.c, validity_detectors.c ---- */

enum { FIGURES_MAX = 32 };

/* Counts by name: warnings by their text, flows by their protocol. */
typedef struct name_count {
    char *name;
    double count[SUBJECTS];
} name_count;

typedef struct name_counts {
    size_t n, capacity, named[SUBJECTS]; /* named: different names of a subject */
    name_count *items;
} name_counts;

status name_counts_add(name_counts *c, const char *name, subject s, double count);
/* By their largest count, largest first; equal ones by name. */
void name_counts_sort(name_counts *c);
void name_counts_clear(name_counts *c);

/* A line of the report: x[i], or its ratio to x[of], times `factor`. */
typedef struct figure {
    const char *name;
    int of; /* another figure's index, or -1: a count */
    double factor;
    const char *means;
} figure;

/* What a program said of the captures of one subject. All doubles, so that ranks add them up. */
typedef struct tool_outcome {
    double ends[TOOL_DONE + 1]; /* runs by how they ended */
    double x[FIGURES_MAX];      /* summed over captures */
} tool_outcome;

typedef struct tool_work {
    const char *capture, *folder; /* a plain pcap file; an empty folder for what the program writes */
    subject s;
    tool_result *result;
    double *x; /* (nfigures), added to */
    name_counts *names;
} tool_work;

typedef struct tool {
    const char *name;
    const char *command; /* how to repeat it */
    size_t nfigures;
    const figure *figures;
    /* One capture. Leaves how the program ended in *result, whose output it may change. */
    status (*ask)(tool_work *t);
} tool;

extern const tool *const tools[];
extern const size_t ntools;
extern const tool tool_tshark, tool_zeek, tool_suricata, tool_scapy;

/* Run a program with the part's limits in t->folder; *done: it ended well. */
status tool_ask(tool_work *t, char *const *argv, bool *done);

/* Figures of tshark, which have tables of their own. */
enum {
    TSHARK_PACKETS,
    TSHARK_ERRORS,
    TSHARK_WARNINGS,
    TSHARK_NOTES,
    TSHARK_CHATS,
    TSHARK_CHECKSUMS,
    TSHARK_CHECKSUMS_RIGHT,
    TSHARK_WRONG_PACKETS,
    TSHARK_MARKS
};
extern const char *const tshark_marks[]; /* tcp.analysis.* */
extern const size_t tshark_nmarks;       /* x[TSHARK_MARKS + i] */

/* ---- validity_rules.c, validity_traffic.c ---- */

/* Collective; r is NULL but on rank 0. */
status validity_rules(const eval_world *w, report *r);
/* outcomes: [ntools][SUBJECTS], names: [ntools]. */
void validity_tools_report(const eval_world *w, const tool_outcome *outcomes, name_counts *names, report *r);
/* Did the program get through every capture? What it says of some is no figure where another stopped it. */
bool tool_answered(const tool_outcome *o);
/* Local. wrong: packets in which tshark found an error, of those that it saw (0: it gave no answer), by subject. */
status validity_traffic(const eval_world *w, const double wrong[SUBJECTS], const double packets[SUBJECTS], report *r);

#endif
