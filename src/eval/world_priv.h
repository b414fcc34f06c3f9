/* How the sets of flows are filled: from datasets (world.c), from captures (world_capture.c), and the controls made of
 * them (world_control.c). */
#ifndef ND_EVAL_WORLD_PRIV_H
#define ND_EVAL_WORLD_PRIV_H

#include "eval/world.h"

enum { WINDOW_MAX = 1024 }; /* packets of a synthetic flow that are looked at */

/* Take a whole flow over: its figures are kept, its packets past `window` are given up. whole is empty afterwards. */
status set_take(eval_set *s, flow *whole, int32_t label, size_t window);
void set_clear(eval_set *s);
/* The class of this name, which is added where there is none yet (macro: "" where it is not known). */
status world_label(eval_world *w, const char *name, const char *macro, int32_t *label);
/* -1 where there is no class of that name. */
int32_t world_find_label(const eval_world *w, const char *name);

/* Fill w->synthetic from a capture file or a folder of captures; sets payload. */
status world_read_captures(eval_world *w, const char *path);
/* Fill w->random and w->marginal. */
status world_make_controls(eval_world *w);

#endif
