/* Utility: are synthetic flows good for what real ones are good for? Classifiers are trained on one and tried on the
 * other, side by side with controls that know less than a model does. (The questions of NetDiffusion's Tables
 * 1 and 4 to 8 and its Figure 4; docs/utility.md.) */
#include "eval/utility_priv.h"

status part_utility(const eval_world *w, report *r) {
    utility_classes classes;
    utility_results results = {0};
    status st = comm_agree(w->c, utility_classes_make(w, &classes));
    if (!st)
        st = utility_run(w, &classes, &results);
    if (!st && r)
        st = utility_report(w, &classes, &results, r);
    if (!st && r)
        st = report_status(r);
    utility_results_clear(&results);
    utility_classes_clear(&classes);
    return st;
}
