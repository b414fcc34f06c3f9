/* Limits on the report's values, and the names that values have.
 *
 * Names are known before anything is measured, so that a slip of the pen in a limit ends a run at its start and not
 * after minutes. Which of them a report holds depends on the data. */
#include "eval/report_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/config.h"
#include "base/file.h"

/* {a,b} is one of a, b. docs/eval.md says where each is explained. */
static const char *const names[] = {
    "{rows_valid_before_repair,rows_valid_real,bits_changed_by_repair,checksums_right,flows_valid}",
    "{tshark_errors_per_1000,tshark_warnings_per_1000}",
    "summary.jsd_{protocol,size,direction,gap,ttl}",
    "{jsd,tvd,hd}.{all,floor,marginal,random}",
    "jsd.{plain,present,protocol,bits}{,.floor,.marginal,.random}",
    "{jsd,wasserstein}.{size,gap,gap_s,length,window,bytes,duration}{,.floor,.marginal,.random}",
    "consistency.{steady,seq}{,.held_out}",
    "utility.{real_real,synthetic_real,real_synthetic,marginal_real,random_real,seen_real}.{rf,dt,svm}.{micro,macro}"
    "{,.all_bits,.statistics}",
    "validity.{before,after,real,checksums,tshark_errors}",
    "variation.bits",
    "memory.{closer_to_train,copies,near_copies,long_copies}",
    "leak.{addresses,timestamps,ports,macs}",
};
enum { PATTERNS = sizeof names / sizeof *names, NAME_BYTES = 64 };

/* Expansion `number` of a pattern, counted with the first group running fastest; false where there are fewer. */
static bool expand(const char *pattern, size_t number, char name[NAME_BYTES]) {
    size_t n = 0;
    while (*pattern) {
        if (*pattern != '{') {
            name[n++] = *pattern++;
            continue;
        }
        size_t choices = 1, end = strcspn(pattern, "}");
        for (size_t i = 1; i < end; i++)
            choices += pattern[i] == ',';
        const char *choice = pattern + 1;
        for (size_t skip = number % choices; skip > 0; skip--)
            choice += strcspn(choice, ",") + 1;
        size_t nbytes = strcspn(choice, ",}");
        ASSERT(n + nbytes < NAME_BYTES);
        memcpy(name + n, choice, nbytes);
        n += nbytes;
        number /= choices;
        pattern += end + 1;
    }
    name[n] = 0;
    return number == 0;
}

/* nearest: where it is not known, the known name that is closest. */
static bool name_is_known(const char *name, size_t n, char nearest[NAME_BYTES]) {
    size_t least = SIZE_MAX;
    char known[NAME_BYTES];
    for (size_t p = 0; p < PATTERNS; p++)
        for (size_t i = 0; expand(names[p], i, known); i++) {
            size_t distance = text_distance(name, n, known, strlen(known));
            if (distance == 0 && strlen(known) == n)
                return true;
            if (distance < least) {
                least = distance;
                memcpy(nearest, known, NAME_BYTES);
            }
        }
    return false;
}

static char *all_names(void) {
    char *all = text_copy("");
    for (size_t p = 0; p < PATTERNS; p++) {
        char *longer = text_format("%s%s%s", all, p ? ", " : "", names[p]);
        free(all);
        all = longer;
    }
    return all;
}

bool report_names_are_known(const report *r) {
    char nearest[NAME_BYTES];
    for (size_t i = 0; i < r->nvalues; i++)
        if (!name_is_known(r->values[i].name, strlen(r->values[i].name), nearest))
            return false;
    return true;
}

/* ---- limits ---- */

typedef struct limit {
    size_t nname; /* the text begins with the name */
    bool below, equal;
    double bound;
} limit;

static status limit_parse(const char *text, limit *l) {
    static const struct {
        const char *text;
        bool below, equal;
    } relations[] = {{"<=", true, true}, {">=", false, true}, {"<", true, false}, {">", false, false}};
    size_t k = 0;
    l->nname = strcspn(text, "<>");
    while (k < 4 && strncmp(text + l->nname, relations[k].text, strlen(relations[k].text)) != 0)
        k++;
    if (k == 4 || l->nname == 0)
        return FAIL(ST_USAGE, "eval.fail_on: \"%s\" is not NAME<=X, NAME>=X, NAME<X or NAME>X", text);
    l->below = relations[k].below;
    l->equal = relations[k].equal;
    return text_to_real(text + l->nname + strlen(relations[k].text), "eval.fail_on", -1e300, 1e300, &l->bound);
}

static status check_limit(const report *r, const char *text) {
    limit l;
    TRY(limit_parse(text, &l));
    const report_named_value *v = report_find_value(r, text, l.nname);
    if (!v)
        return FAIL(ST_USAGE,
                    "eval.fail_on: \"%s\": this report has no such value: what it is measured of is not there "
                    "(report.json lists the others under \"values\")",
                    text);
    bool holds = (l.equal && v->x == l.bound) || (l.below ? v->x < l.bound : v->x > l.bound);
    return holds ? ST_OK : FAIL(ST_RANGE, "%s does not hold: %.*s is %.6g", text, (int)l.nname, text, v->x);
}

status report_limits_read(size_t n, char *const *limits) {
    for (size_t i = 0; i < n; i++) {
        limit l;
        char nearest[NAME_BYTES];
        TRY(limit_parse(limits[i], &l));
        if (name_is_known(limits[i], l.nname, nearest))
            continue;
        char *all = all_names();
        status st =
            FAIL(ST_USAGE, "eval.fail_on: \"%s\": there is no value \"%.*s\"; did you mean \"%s\"? There are: %s",
                 limits[i], (int)l.nname, limits[i], nearest, all);
        free(all);
        return st;
    }
    return ST_OK;
}

/* A limit that cannot be read is found first, wherever it stands: a typing error must not hide behind a failure. */
status report_check(const report *r, size_t n, char *const *limits) {
    status first = ST_OK;
    char *message = NULL;
    for (size_t i = 0; i < n; i++) {
        status st = check_limit(r, limits[i]);
        if (st == ST_USAGE) {
            free(message);
            return st;
        }
        if (st && !first) {
            first = st;
            message = text_copy(status_message());
        }
    }
    if (first)
        status_set_message(message);
    free(message);
    return first;
}
