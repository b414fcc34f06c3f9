/* payload_equal CAPTURE: is every payload byte of a generated capture what packet/payload.h makes of the headers, left
 * out where it says so, and every checksum right for it? Prints how many packets carry bytes that are not zero. Exit 0
 * yes, 1 no. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/status.h"
#include "io/capture.h"
#include "packet/payload.h"

typedef struct place {
    size_t flow, index;
} place;

static status packet_of(capture *c, const capture_record *r, packet *p) {
    if (packet_decode(capture_link_type(c), r->bytes, r->caplen, r->wire_len, p) != SKIP_NONE)
        return FAIL(ST_FORMAT, "a record that is no packet");
    p->time_ns = r->time_ns;
    return ST_OK;
}

/* First pass: flows, and where in them each record is. */
static status read_flows(const char *path, flow_table *t, place *places, size_t capacity, size_t *n) {
    capture *c = NULL;
    status st = capture_open(&c, path);
    bool end = false;
    for (*n = 0; !st; ++*n) {
        capture_record r;
        packet p = {0};
        st = capture_next(c, &r, &end);
        if (end || st)
            break;
        if (*n == capacity)
            st = FAIL(ST_RANGE, "more than %zu records", capacity);
        if (!st)
            st = packet_of(c, &r, &p);
        if (!st)
            st = flow_table_add(t, &p, &places[*n].flow);
        if (!st)
            places[*n].index = flow_table_get(t, places[*n].flow)->npackets - 1;
    }
    capture_close(&c);
    return st;
}

static status compare(const char *path, flow_table *t, const place *places, size_t n, size_t *filled) {
    static uint8_t made[PAYLOAD_MAX];
    capture *c = NULL;
    status st = capture_open(&c, path);
    *filled = 0;
    for (size_t i = 0; i < n && !st; i++) {
        capture_record r;
        packet p;
        bool end;
        const flow *f = flow_table_get(t, places[i].flow);
        st = capture_next(c, &r, &end);
        if (!st)
            st = packet_of(c, &r, &p);
        if (st)
            break;
        size_t npayload = packet_payload(&p), start = r.wire_len - p.wire_len + p.nheader;
        *filled += payload_make(f, places[i].index, made, npayload);
        unsigned proto = packet_proto(&p), at = proto == PROTO_TCP ? 16 : proto == PROTO_UDP ? 6 : 2;
        uint16_t sum = get16(packet_l4(&p) + at);
        size_t stored = payload_is_left_out(&p) ? 0 : npayload;
        if (start + stored > r.caplen || (stored < npayload && start < r.caplen) ||
            memcmp(r.bytes + start, made, stored) != 0)
            st = FAIL(ST_FORMAT, "record %zu: another payload", i + 1);
        else if (sum != checksum_transport_over(&p, checksum_sum(made, npayload)) && !(proto == PROTO_UDP && sum == 0))
            st = FAIL(ST_FORMAT, "record %zu: a wrong checksum", i + 1);
    }
    capture_close(&c);
    return st;
}

int main(int argc, char **argv) {
    enum { RECORDS = 1 << 20 };
    flow_table *t = NULL;
    size_t n = 0, filled = 0;
    if (argc != 2)
        return 2;
    place *places = calloc(RECORDS, sizeof *places);
    status st = places ? flow_table_new(&t, 0) : FAIL(ST_MEMORY, "no memory");
    if (!st)
        st = read_flows(argv[1], t, places, RECORDS, &n);
    if (!st)
        st = compare(argv[1], t, places, n, &filled);
    if (st)
        printf("%s: %s\n", argv[1], status_message());
    else
        printf("%zu packets, %zu of them with payload that is not zero\n", n, filled);
    flow_table_free(&t);
    free(places);
    return st ? 1 : 0;
}
