/* The relative layout: TCP options (RFC 9293 3.1, 7323, 2018) as one symbol a slot.
 *
 * The options of the table have symbols, once in a list; any other, a second of the same kind, and one whose value the
 * cells have no place for is a RAW symbol, for which the escape holds a record of at least two bytes, the second of
 * which is the record's length:
 *
 *    kind, length, data ..    an option as it stands
 *    0, length, edges ..      SACK, its edges as codes: below 128 the boundary of that index, 128 + k a distance from
 *                             the edge before (the first's: from the acknowledgement number) in k + 1 bytes
 *    1, length, bytes ..      the rest of the list, with runs: what does not parse, what stands behind EOL, the last
 *                             of too many options */
#include <string.h>
#include "packet/relative_priv.h"

int relative_tsecr_index(const connection_side *peer, uint32_t tsecr) {
    int index = connection_stamp_index(peer, tsecr);
    return index < TSECR_ZERO ? index : -1;
}

/* ---- A list into symbols ---- */

/* A list cut into options, EOLs that padding would not write, and a tail. */
typedef struct list_cut {
    unsigned n, neol, tail; /* tail: where it begins; the list's length where there is none */
    tcp_option option[TCP_OPTIONS_MAX];
} list_cut;

static void cut_list(const uint8_t *list, unsigned nbytes, list_cut *cut) {
    unsigned at = 0, end = nbytes;
    tcp_option o;
    cut->n = cut->neol = 0;
    cut->tail = nbytes;
    while (at < nbytes) {
        unsigned start = at;
        int found = tcp_option_next(list, nbytes, &at, &o);
        if (found > 0 && o.kind != TCP_OPTION_EOL) {
            cut->option[cut->n++] = o;
            continue;
        }
        end = start;
        bool zeros = found > 0;
        for (unsigned i = start; i < nbytes; i++)
            zeros = zeros && list[i] == 0;
        if (!zeros)
            cut->tail = start;
        else if (nbytes - start > 3)
            cut->neol = nbytes - start - 3;
        break;
    }
    if (cut->n + cut->neol + (cut->tail < nbytes) <= RELATIVE_OPTIONS)
        return;
    cut->tail = cut->n < RELATIVE_OPTIONS ? end : cut->option[RELATIVE_OPTIONS - 1].at;
    cut->n = cut->n < RELATIVE_OPTIONS ? cut->n : RELATIVE_OPTIONS - 1;
    cut->neol = 0;
}

unsigned relative_options_bound(const uint8_t *list, unsigned nbytes) {
    list_cut cut;
    cut_list(list, nbytes, &cut);
    unsigned tail = nbytes - cut.tail, bound = tail > 0 ? RECORD_NHEAD + tail + tail / 2 : 0; /* all pairs */
    for (unsigned i = 0; i < cut.n; i++)
        if (cut.option[i].kind != TCP_OPTION_NOP)
            bound += cut.option[i].nbytes;
    return bound;
}

static bool put_step(int8_t *row, unsigned field, uint32_t step) {
    uint32_t code = layout_sign_magnitude((int32_t)step, relative_fields[field].nbits);
    rel_put(row, field, code);
    return (uint32_t)layout_step(code, relative_fields[field].nbits) == step;
}

/* false where a step is too large for its cells. */
static bool put_stamps(const connection_side *own, const connection_side *peer, const uint8_t *option, int8_t *row) {
    uint32_t tsval = get32(option + 2), tsecr = get32(option + 6);
    int index = relative_tsecr_index(peer, tsecr);
    unsigned symbol = tsecr == 0 ? TSECR_ZERO : index >= 0 ? (unsigned)index : TSECR_ESCAPE;
    rel_put(row, REL_TSECR_INDEX, symbol);
    bool echo = put_step(row, REL_TSECR_STEP, tsecr - peer->stamp[0]);
    return put_step(row, REL_TSVAL_STEP, tsval - own->stamp[0]) && (symbol != TSECR_ESCAPE || echo);
}

/* Are these the blocks that the decoder would write? */
static bool sack_expected(const relative_state *s, unsigned dir, uint32_t ack, const uint8_t *option,
                          unsigned nblocks) {
    uint32_t edges[2 * SACK_BLOCKS];
    if (relative_sack(s, dir, ack, nblocks, edges) != nblocks)
        return false;
    for (unsigned i = 0; i < 2 * nblocks; i++)
        if (get32(option + 2 + 4 * i) != edges[i])
            return false;
    return true;
}

static void put_sack(relative_escape *e, const connection_side *peer, uint32_t ack, const uint8_t *option,
                     unsigned nbytes) {
    uint8_t bytes[RECORD_NHEAD + 5 * 2 * SACK_BLOCKS] = {RECORD_SACK};
    unsigned n = RECORD_NHEAD;
    uint32_t previous = ack;
    for (unsigned at = 2; at < nbytes; at += 4) {
        uint32_t edge = get32(option + at);
        int index = connection_index(peer, edge);
        if (index >= 0 && index < EDGE_INDEXES) {
            bytes[n++] = (uint8_t)index;
        } else {
            int32_t distance = (int32_t)(edge - previous);
            unsigned more = 0; /* bytes beyond the first that the distance needs */
            while (more < 3 && (distance >= 0 ? distance : ~distance) >> (8 * more + 7) != 0)
                more++;
            bytes[n++] = (uint8_t)(EDGE_INDEXES + more);
            for (unsigned i = more + 1; i-- > 0;)
                bytes[n++] = (uint8_t)((uint32_t)distance >> 8 * i);
        }
        previous = edge;
    }
    bytes[1] = (uint8_t)n;
    if (n < nbytes)
        escape_put(e, bytes, n);
    else
        escape_put(e, option, nbytes);
}

static void put_tail(relative_escape *e, const uint8_t *bytes, unsigned nbytes) {
    unsigned length = e->nbytes + 1;
    const uint8_t head[RECORD_NHEAD] = {RECORD_TAIL, 0};
    escape_put(e, head, sizeof head);
    escape_put_runs(e, bytes, nbytes);
    if (!e->overflow)
        e->bytes[length] = (uint8_t)(e->nbytes - length + 1);
}

void relative_encode_options(const relative_state *s, const packet *p, const relative_view *v, relative_escape *e,
                             int8_t *row) {
    const connection_side *own = &s->side[p->dir], *peer = &s->side[!p->dir];
    const uint8_t *l4 = p->header + v->nip, *list = l4 + 20;
    unsigned nbytes = v->nl4 - 20, nsymbols = 0, done = 0;
    bool acks = l4[13] & TCP_ACK;
    uint32_t ack = acks ? get32(l4 + 8) : peer->next;
    list_cut cut;
    cut_list(list, nbytes, &cut);
    for (unsigned i = 0; i < cut.n; i++) {
        const tcp_option *o = &cut.option[i];
        const uint8_t *option = list + o->at;
        unsigned symbol = SYMBOL_RAW, nblocks;
        if (o->kind == TCP_OPTION_NOP) {
            symbol = SYMBOL_NOP;
        } else if (o->kind < 32 && done >> o->kind & 1) {
            symbol = SYMBOL_RAW;
        } else if (o->kind == TCP_OPTION_MSS) {
            symbol = SYMBOL_MSS;
            rel_put(row, REL_MSS, get16(option + 2));
        } else if (o->kind == TCP_OPTION_WINDOW_SCALE && option[2] <= WINDOW_SCALE_MAX) {
            symbol = SYMBOL_WINDOW_SCALE;
            rel_put(row, REL_WINDOW_SCALE, option[2]);
        } else if (o->kind == TCP_OPTION_SACK_PERMITTED) {
            symbol = SYMBOL_SACK_PERMITTED;
        } else if (o->kind == TCP_OPTION_TIMESTAMPS && put_stamps(own, peer, option, row)) {
            symbol = SYMBOL_TIMESTAMPS;
        } else if (o->kind == TCP_OPTION_SACK && sack_expected(s, p->dir, ack, option, nblocks = o->nbytes / 8)) {
            symbol = SYMBOL_SACK + nblocks - 1;
        }
        if (symbol != SYMBOL_RAW && symbol != SYMBOL_NOP)
            done |= 1u << o->kind;
        else if (symbol == SYMBOL_RAW && o->kind == TCP_OPTION_SACK && acks)
            put_sack(e, peer, ack, option, o->nbytes);
        else if (symbol == SYMBOL_RAW)
            escape_put(e, option, o->nbytes);
        rel_put(row, REL_OPTION + nsymbols++, symbol);
    }
    if (cut.tail < nbytes) {
        put_tail(e, list + cut.tail, nbytes - cut.tail);
        rel_put(row, REL_OPTION + nsymbols++, SYMBOL_RAW);
    }
    for (; cut.neol > 0; cut.neol--)
        rel_put(row, REL_OPTION + nsymbols++, SYMBOL_EOL);
    while (nsymbols < RELATIVE_OPTIONS)
        rel_put(row, REL_OPTION + nsymbols++, SYMBOL_END);
}

/* ---- Symbols into a list ---- */

static void take_stamps(const connection_side *own, const connection_side *peer, const int8_t *row, const float *soft,
                        uint8_t *data) {
    unsigned nbits = relative_fields[REL_TSVAL_STEP].nbits, index = rel_get(row, REL_TSECR_INDEX);
    uint32_t tsecr = 0;
    if (index == TSECR_ESCAPE)
        tsecr = peer->stamp[0] + (uint32_t)layout_step(rel_get(row, REL_TSECR_STEP), nbits);
    else if (index != TSECR_ZERO)
        tsecr = peer->stamp[relative_below(row, soft, REL_TSECR_INDEX,
                                           peer->nstamps < TSECR_ZERO ? peer->nstamps : TSECR_ZERO)];
    put32(data, own->stamp[0] + (uint32_t)layout_step(rel_get(row, REL_TSVAL_STEP), nbits));
    put32(data + 4, tsecr);
}

static void take_sack(const relative_state *s, unsigned dir, uint32_t ack, unsigned nblocks, tcp_option_list *list) {
    uint32_t edges[2 * SACK_BLOCKS];
    unsigned found = relative_sack(s, dir, ack, nblocks, edges);
    uint8_t *data = found > 0 ? tcp_option_add(list, TCP_OPTION_SACK, 2 + 8 * found) : NULL;
    for (unsigned i = 0; data != NULL && i < 2 * found; i++)
        put32(data + 4 * i, edges[i]);
}

static void take_edges(const connection_side *peer, uint32_t ack, const uint8_t *codes, unsigned nbytes,
                       uint8_t *data) {
    uint32_t edge = ack;
    for (unsigned at = 0; at < nbytes; at += escape_edge_nbytes(codes[at]), data += 4) {
        if (codes[at] < EDGE_INDEXES) {
            edge = connection_number(peer, codes[at]);
        } else {
            uint32_t distance = codes[at + 1] & 0x80 ? UINT32_MAX : 0;
            for (unsigned i = 1; i < escape_edge_nbytes(codes[at]); i++)
                distance = distance << 8 | codes[at + i];
            edge += distance;
        }
        put32(data, edge);
    }
}

static void take_record(const relative_escape *e, const escape_record *r, const connection_side *peer, uint32_t ack,
                        tcp_option_list *list) {
    const uint8_t *bytes = e->bytes + r->at;
    if (bytes[0] == RECORD_SACK) {
        uint8_t *data = tcp_option_add(list, TCP_OPTION_SACK, r->nlist);
        if (data != NULL)
            take_edges(peer, ack, bytes + RECORD_NHEAD, r->nbytes - RECORD_NHEAD, data);
    } else if (r->nlist <= TCP_OPTIONS_MAX - list->nbytes) {
        unsigned nused, n = r->nlist;
        if (bytes[0] == RECORD_TAIL)
            escape_take_runs(bytes + RECORD_NHEAD, r->nbytes - RECORD_NHEAD, &nused, list->bytes + list->nbytes,
                             TCP_OPTIONS_MAX - list->nbytes, &n);
        else
            memcpy(list->bytes + list->nbytes, bytes, n);
        list->nbytes += n;
    }
}

void relative_decode_options(const relative_state *s, unsigned dir, bool acks, uint32_t ack, const int8_t *row,
                             const float *soft, relative_escape *e, tcp_option_list *list) {
    const connection_side *own = &s->side[dir], *peer = &s->side[!dir];
    escape_record records[RELATIVE_OPTIONS];
    uint8_t symbol[RELATIVE_OPTIONS], *data;
    unsigned n = relative_symbols(row, soft, symbol), nraw = 0;
    if (memchr(symbol, SYMBOL_RAW, n) != NULL)
        escape_records(e, records);
    if (!acks)
        ack = peer->next;
    for (unsigned i = 0; i < n; i++) {
        switch (symbol[i]) {
        case SYMBOL_MSS:
            if ((data = tcp_option_add(list, TCP_OPTION_MSS, 4)) != NULL)
                put16(data, rel_get(row, REL_MSS));
            break;
        case SYMBOL_WINDOW_SCALE:
            if ((data = tcp_option_add(list, TCP_OPTION_WINDOW_SCALE, 3)) != NULL)
                *data = (uint8_t)relative_below(row, soft, REL_WINDOW_SCALE, WINDOW_SCALE_MAX + 1);
            break;
        case SYMBOL_SACK_PERMITTED:
            tcp_option_add(list, TCP_OPTION_SACK_PERMITTED, 2);
            break;
        case SYMBOL_TIMESTAMPS:
            if ((data = tcp_option_add(list, TCP_OPTION_TIMESTAMPS, 10)) != NULL)
                take_stamps(own, peer, row, soft, data);
            break;
        case SYMBOL_RAW:
            e->nbytes = records[nraw].at + records[nraw].nbytes;
            take_record(e, &records[nraw++], peer, ack, list);
            break;
        case SYMBOL_NOP:
        case SYMBOL_EOL:
            tcp_option_add(list, symbol[i] == SYMBOL_EOL ? TCP_OPTION_EOL : TCP_OPTION_NOP, 1);
            break;
        default:
            take_sack(s, dir, ack, symbol[i] - SYMBOL_SACK + 1u, list);
        }
    }
    tcp_option_pad(list);
}
