/* Import of nPrint text. Rows of thousands of characters are out of reach for a fuzzer, so the input is a recipe of
 * them: the first byte chooses the form, and each other one gives a number of equal values, six bits, a character
 * of its own, or the end of a line. Every row becomes a complete packet or is counted. */
#include <string.h>
#include "fuzz/fuzz.h"
#include "io/import_priv.h"

enum { TEXT_MAX = 256 << 10, LITERAL = 0xfe, NEWLINE = 0xff };

static void put(FILE *to, const char *text, unsigned times) {
    while (times-- > 0)
        fputs(text, to);
}

/* The text of a recipe; malloc. */
static char *cook(const uint8_t *data, size_t n, size_t *nbytes) {
    static const char *const values[] = {",0", ",1", ",-1"};
    char *text = NULL;
    FILE *to = open_memstream(&text, nbytes);
    FUZZ_CHECK(to != NULL);
    FUZZ_CHECK(nprint_csv_header(data[0] & 1 ? &nprint_ipv6_form : &nprint_ipv4_form, to) == ST_OK);
    for (size_t i = 1; i < n && ftell(to) < TEXT_MAX; i++) {
        if (data[i] == NEWLINE)
            fputc('\n', to);
        else if (data[i] == LITERAL && i + 1 < n)
            fputc(data[++i], to);
        else if (data[i] < 0xc0) /* value in two bits, how often in six: the last of the 64 is many */
            put(to, values[data[i] >> 6], (data[i] & 63) == 63 ? 320 : (data[i] & 63) + 1u);
        else /* six bits, each a value */
            for (int bit = 5; bit >= 0; bit--)
                put(to, values[data[i] >> bit & 1], 1);
    }
    FUZZ_CHECK(fclose(to) == 0);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    import_rows rows = {.nrows = 0};
    flow_table *flows = NULL;
    size_t nbytes = 0, npackets = 0;
    if (n == 0)
        return 0;
    char *text = cook(data, n, &nbytes);
    FILE *f = fmemopen(text, nbytes, "r");
    FUZZ_CHECK(f != NULL && flow_table_new(&flows, 0) == ST_OK);
    if (import_read_rows("text", f, &rows, flows) == ST_OK) {
        for (size_t i = 0; i < flow_table_count(flows); i++) {
            const flow *x = flow_table_get(flows, i);
            npackets += x->npackets;
            for (size_t k = 0; k < x->npackets; k++)
                FUZZ_CHECK(packet_is_complete(&x->packets[k]));
        }
        FUZZ_CHECK(rows.nrows == npackets + rows.skipped[SKIP_IPV6] + rows.skipped[SKIP_IP_BAD]);
    }
    fclose(f);
    flow_table_free(&flows);
    free(text);
    return 0;
}
