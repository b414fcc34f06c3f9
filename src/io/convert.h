/* The other uses of ndencode: looking into a dataset, and to and from nPrint text and flow pictures. Local. */
#ifndef ND_IO_CONVERT_H
#define ND_IO_CONVERT_H

#include <stdbool.h>
#include <stdint.h>
#include "packet/nprint.h"

/* Does the command line ask for one of them (--info, --export, --import)? */
bool convert_wanted(int argc, char **argv);
status convert_run(int argc, char **argv);

/* Tables of a dataset on stdout. */
status convert_info(const char *dataset);

/* From a dataset: one CSV per source file, packets in frame order. From a capture: its packets in capture order; the
 * text equals nPrint's, with the form's options, for Ethernet, cooked and raw captures of untagged packets. Packets
 * that the form does not hold whole have no row. limit (0 = none): rows, or as nPrint's -c frames of the capture. */
status export_nprint(const nprint_form *form, const char *input, const char *folder, uint64_t limit);
/* One picture a flow, flow-NNNNNN-LABEL.png; at most `limit` (0 = all). Flows with a packet that the form does not hold
 * whole are left out and counted in a warning. */
status export_png(const nprint_form *form, const char *input, const char *folder, uint64_t limit);

/* Rows (nPrint text, whose header line tells the form) become packets, one microsecond apart, and flows are assembled
 * from them; a well-formed row that holds no packet is counted as skipped. One input is one file and one run of the
 * dataset. */
status import_nprint(int ninputs, char *const *inputs, const char *path);
/* One picture, whose width tells the form, is one flow, labelled by a name flow-NNNNNN-LABEL.png. */
status import_png(int ninputs, char *const *inputs, const char *path);

#endif
