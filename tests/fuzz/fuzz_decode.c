/* packet_decode: two bytes of link type, two of how much longer the frame was on the wire, then the frame. What is
 * decoded must be a complete packet, hold its bytes unchanged, and go through nPrint's rows; and the frame's bytes
 * taken for a packet as a model might make it must be safe wherever packet_has_shape says so. */
#include <string.h>
#include "fuzz/fuzz.h"
#include "packet/flow.h"
#include "packet/nprint.h"

static void check_rows(const nprint_form *form, const packet *p) {
    static int8_t bits[NPRINT_MOST_COLUMNS];
    static char text[NPRINT_ROW_MAX];
    const char *why;
    packet back = {.nheader = 0};
    nprint_form_encode(form, p, bits);
    size_t n = nprint_csv_row(form, p, text);
    FUZZ_CHECK(n > 0 && n <= NPRINT_ROW_MAX);
    if (!packet_is_complete(p) || !nprint_form_holds(form, p, &why))
        return;
    FUZZ_CHECK(nprint_csv_parse(form, text, n - 1, &back) == ST_OK);
    FUZZ_CHECK(back.nheader == p->nheader && memcmp(back.header, p->header, p->nheader) == 0);
}

static void check_views(const packet *p) {
    packet q = *p;
    flow_key key = flow_key_of(p), reverse = flow_key_reverse(&key);
    FUZZ_CHECK(flow_key_hash(&key) == flow_key_hash(&reverse));
    FUZZ_CHECK(packet_ip_nheader(p) + 8 <= p->nheader && p->nheader <= PACKET_HEADER_MAX);
    checksum_fill(&q, false);
    FUZZ_CHECK(packet_has_shape(&q));
    check_rows(&nprint_ipv4_form, p);
    check_rows(&nprint_ipv6_form, p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n < 4)
        return 0;
    packet p = {.nheader = 0};
    size_t caplen = n - 4, wire = caplen + get16(data + 2);
    uint8_t *frame = malloc(caplen > 0 ? caplen : 1); /* its own block, so that any byte read behind it is seen */
    FUZZ_CHECK(frame != NULL);
    memcpy(frame, data + 4, caplen);
    if (packet_decode(get16(data), frame, caplen, wire, &p) == SKIP_NONE) {
        FUZZ_CHECK(packet_is_complete(&p) && p.wire_len >= p.nheader && p.wire_len <= wire);
        uint8_t *header = frame + wire - p.wire_len;
        if (!packet_is_ipv6(&p) && get16(header + 2) == 0) { /* the frame's length stands for it */
            FUZZ_CHECK(packet_total_len(&p) == p.wire_len);
            memcpy(header + 2, p.header + 2, 2);
            memcpy(header + 10, p.header + 10, 2);
        }
        FUZZ_CHECK(memcmp(header, p.header, p.nheader) == 0);
        check_views(&p);
    }
    if (caplen > 0) {
        p = (packet){.nheader = frame[0]};
        memcpy(p.header, frame + 1, caplen - 1 < PACKET_HEADER_MAX ? caplen - 1 : PACKET_HEADER_MAX);
        if (packet_has_shape(&p))
            check_views(&p);
    }
    free(frame);
    return 0;
}
