/* The relative layout: TCP options (RFC 9293 3.1, 7323, 2018) as one symbol a slot.
 *
 * The options of the table have symbols, once in a list; any other, a second of the same kind, and one whose value the
 * cells have no place for is a RAW symbol, for which the escape holds a record of at least two bytes, the second of
 * which is the record's length:
 *
 *    kind, length, data ..    an option as it stands
 *    0, length, edges ..      SACK, its edges as codes: below 128 the boundary of that index, 128 + k a distance from
 *                             the edge before (the first's: from the acknowledgement number) in k + 1 bytes
 *    1, length, bytes ..      the rest of the list, with runs: what does not parse or stands behind EOL, and where
 * there are too many options */
#include <string.h>
#include "packet/relative_priv.h"

enum { RECORD_SACK = 0, RECORD_TAIL = 1, RECORD_NHEAD = 2, EDGE_INDEXES = 128 };

/* Bytes of the list that a symbol stands for; RAW's are its record's. */
static const uint8_t symbol_nbytes[16] = {
    [SYMBOL_NOP] = 1,         [SYMBOL_MSS] = 4,   [SYMBOL_WINDOW_SCALE] = 3, [SYMBOL_SACK_PERMITTED] = 2,
    [SYMBOL_TIMESTAMPS] = 10, [SYMBOL_SACK] = 10, [SYMBOL_SACK + 1] = 18,    [SYMBOL_SACK + 2] = 26,
    [SYMBOL_SACK + 3] = 34,   [SYMBOL_EOL] = 1};

int relative_tsecr_index(const connection_side *peer, uint32_t tsecr) {
    int index = connection_stamp_index(peer, tsecr);
    return index < TSECR_ZERO ? index : -1;
}

/* ---- Records of the escape ---- */

typedef struct record {
    unsigned at, nbytes;
    unsigned nlist; /* bytes of the list that it makes */
} record;

static unsigned edge_nbytes(uint8_t code) {
    return code < EDGE_INDEXES ? 1 : code < EDGE_INDEXES + 4 ? 2u + code - EDGE_INDEXES : 0;
}

/* How many edges these codes are; 0 where they are no blocks. */
static unsigned count_edges(const uint8_t *codes, unsigned nbytes) {
    unsigned n = 0;
    for (unsigned at = 0, step; at < nbytes; at += step, n++)
        if ((step = edge_nbytes(codes[at])) == 0 || step > nbytes - at)
            return 0;
    return n % 2 == 0 && n <= 2 * SACK_BLOCKS ? n : 0;
}

static bool tail_nbytes(const uint8_t *bytes, unsigned nbytes, unsigned *nlist) {
    uint8_t list[TCP_OPTIONS_MAX];
    unsigned nused, n = nbytes - RECORD_NHEAD;
    return escape_take_runs(bytes + RECORD_NHEAD, n, &nused, list, TCP_OPTIONS_MAX, nlist) && nused == n;
}

/* The records that the escape may begin with: as many as can be read as such. */
static unsigned find_records(const relative_escape *e, record r[RELATIVE_OPTIONS]) {
    unsigned n = 0, at = 0;
    while (n < RELATIVE_OPTIONS && at + RECORD_NHEAD <= RELATIVE_ESCAPE_BYTES) {
        const uint8_t *bytes = e->bytes + at;
        unsigned nbytes = bytes[1], nlist = nbytes;
        if (nbytes < RECORD_NHEAD || nbytes > RELATIVE_ESCAPE_BYTES - at)
            break;
        if (bytes[0] == RECORD_TAIL && !tail_nbytes(bytes, nbytes, &nlist))
            break;
        if (bytes[0] == RECORD_SACK)
            nlist = 2 + 4 * count_edges(bytes + RECORD_NHEAD, nbytes - RECORD_NHEAD);
        if (nlist == 0 || (bytes[0] == RECORD_SACK && nlist == 2))
            break;
        r[n++] = (record){.at = at, .nbytes = nbytes, .nlist = nlist};
        at += nbytes;
    }
    return n;
}

static bool is_tail(const relative_escape *e, const record *r) {
    return e->bytes[r->at] == RECORD_TAIL;
}

/* ---- Symbols ---- */

static bool is_sack(unsigned symbol) {
    return symbol >= SYMBOL_SACK && symbol < SYMBOL_SACK + SACK_BLOCKS;
}

/* What may come once only: a bit for each; SACKs of any number of blocks share theirs. */
static unsigned once(unsigned symbol) {
    if (is_sack(symbol))
        return 1u << SYMBOL_SACK;
    return symbol >= SYMBOL_MSS && symbol <= SYMBOL_TIMESTAMPS ? 1u << symbol : 0;
}

/* How many symbols stand before END; -1 where they make no list that can be. */
static int list_length(const uint8_t symbol[RELATIVE_OPTIONS], const relative_escape *e, const record *r,
                       unsigned nrecords) {
    unsigned i = 0, nbytes = 0, seen = 0, nraw = 0;
    bool tail = false;
    for (; i < RELATIVE_OPTIONS && symbol[i] != SYMBOL_END && symbol[i] != SYMBOL_EOL && !tail; i++) {
        unsigned s = symbol[i];
        if (s > SYMBOL_EOL || seen & once(s) || (s == SYMBOL_RAW && nraw == nrecords))
            return -1;
        seen |= once(s);
        if (s == SYMBOL_RAW) {
            nbytes += r[nraw].nlist;
            tail = is_tail(e, &r[nraw++]);
        } else {
            nbytes += symbol_nbytes[s];
        }
    }
    for (; i < RELATIVE_OPTIONS && symbol[i] == SYMBOL_EOL && !tail; i++)
        nbytes++;
    unsigned n = i;
    while (i < RELATIVE_OPTIONS && symbol[i] == SYMBOL_END)
        i++;
    return i == RELATIVE_OPTIONS && nbytes <= TCP_OPTIONS_MAX ? (int)n : -1;
}

/* The likeliest list, where the cells are log-likelihoods: the sum of what each slot's cells say for its symbol. A list
 * grows symbol by symbol; all that matters of its past is which options it has, the blocks of its SACK and how many
 * records it took, for the other slots are NOPs. That gives few states, of which the best way to each is kept. */
enum {
    KINDS = 16, /* sets of MSS, window scale, SACK permitted, timestamps */
    SACKS = SACK_BLOCKS + 1,
    TAKEN = RELATIVE_OPTIONS + 1,
    STATES = KINDS * SACKS * TAKEN
};

typedef struct list_search {
    float score[RELATIVE_OPTIONS][16];
    float end[RELATIVE_OPTIONS + 1];      /* of END from this slot on */
    float best[2][STATES];                /* -1e30: no way here; of even and odd numbers of slots */
    uint8_t by[RELATIVE_OPTIONS][STATES]; /* the symbol of this slot that led to the state */
    const relative_escape *escape;
    const record *records;
    unsigned nrecords, taken_nbytes[TAKEN];
    float whole; /* of the best list so far: slots before EOL, EOLs, and the state before a tail or at the end */
    unsigned nopen, neol, state;
    bool tail;
} list_search;

static unsigned state_of(unsigned kinds, unsigned sack, unsigned taken) {
    return (taken * KINDS + kinds) * SACKS + sack;
}

static unsigned state_nbytes(const list_search *x, unsigned nslots, unsigned kinds, unsigned sack, unsigned taken) {
    unsigned nbytes = x->taken_nbytes[taken], others = taken + (sack > 0);
    if (sack > 0)
        nbytes += symbol_nbytes[SYMBOL_SACK + sack - 1];
    for (unsigned k = 0; k < 4; k++)
        if (kinds >> k & 1) {
            nbytes += symbol_nbytes[SYMBOL_MSS + k];
            others++;
        }
    return nbytes + nslots - others;
}

/* The list ends after nslots slots, with EOLs as the cells like them. */
static void close_list(list_search *x, unsigned nslots, unsigned nbytes, unsigned state, float score) {
    for (unsigned neol = 0;; neol++) {
        float whole = score + x->end[nslots + neol];
        if (whole > x->whole) {
            x->whole = whole;
            x->nopen = nslots;
            x->neol = neol;
            x->state = state;
            x->tail = false;
        }
        if (nslots + neol == RELATIVE_OPTIONS || nbytes + neol == TCP_OPTIONS_MAX)
            return;
        score += x->score[nslots + neol][SYMBOL_EOL];
    }
}

static void step_to(list_search *x, unsigned slot, unsigned to, unsigned symbol, float score) {
    float *best = &x->best[(slot + 1) % 2][to];
    if (score > *best) {
        *best = score;
        x->by[slot][to] = (uint8_t)symbol;
    }
}

/* Every symbol that the list of this state can go on with. */
static void extend_list(list_search *x, unsigned slot, unsigned kinds, unsigned sack, unsigned taken, unsigned nbytes,
                        float score) {
    const float *of = x->score[slot];
    unsigned room = TCP_OPTIONS_MAX - nbytes, state = state_of(kinds, sack, taken);
    if (room >= 1)
        step_to(x, slot, state, SYMBOL_NOP, score + of[SYMBOL_NOP]);
    for (unsigned k = 0; k < 4; k++)
        if (!(kinds >> k & 1) && room >= symbol_nbytes[SYMBOL_MSS + k])
            step_to(x, slot, state_of(kinds | 1u << k, sack, taken), SYMBOL_MSS + k, score + of[SYMBOL_MSS + k]);
    for (unsigned n = 1; sack == 0 && n <= SACK_BLOCKS && room >= symbol_nbytes[SYMBOL_SACK + n - 1]; n++)
        step_to(x, slot, state_of(kinds, n, taken), SYMBOL_SACK + n - 1, score + of[SYMBOL_SACK + n - 1]);
    if (taken == x->nrecords || room < x->records[taken].nlist)
        return;
    if (!is_tail(x->escape, &x->records[taken])) {
        step_to(x, slot, state_of(kinds, sack, taken + 1), SYMBOL_RAW, score + of[SYMBOL_RAW]);
    } else if (score + of[SYMBOL_RAW] + x->end[slot + 1] > x->whole) {
        x->whole = score + of[SYMBOL_RAW] + x->end[slot + 1];
        x->nopen = slot + 1;
        x->neol = 0;
        x->state = state;
        x->tail = true;
    }
}

static unsigned state_before(unsigned state, unsigned symbol) {
    if (symbol == SYMBOL_RAW)
        return state - KINDS * SACKS;
    if (is_sack(symbol))
        return state - (symbol - SYMBOL_SACK + 1);
    return symbol == SYMBOL_NOP ? state : state - (1u << (symbol - SYMBOL_MSS)) * SACKS;
}

static unsigned likeliest_list(list_search *x, uint8_t symbol[RELATIVE_OPTIONS]) {
    x->end[RELATIVE_OPTIONS] = 0;
    for (unsigned i = RELATIVE_OPTIONS; i-- > 0;)
        x->end[i] = x->end[i + 1] + x->score[i][SYMBOL_END];
    x->taken_nbytes[0] = 0;
    for (unsigned k = 0; k < x->nrecords; k++)
        x->taken_nbytes[k + 1] = x->taken_nbytes[k] + x->records[k].nlist;
    unsigned nstates = (x->nrecords + 1) * KINDS * SACKS;
    x->whole = -1e30f;
    for (unsigned state = 0; state < nstates; state++)
        x->best[0][state] = -1e30f;
    x->best[0][0] = 0;
    for (unsigned slot = 0; slot <= RELATIVE_OPTIONS; slot++) {
        for (unsigned state = 0; state < nstates; state++)
            x->best[(slot + 1) % 2][state] = -1e30f;
        for (unsigned state = 0; state < nstates; state++) {
            unsigned taken = state / (KINDS * SACKS), kinds = state / SACKS % KINDS, sack = state % SACKS;
            float score = x->best[slot % 2][state];
            if (score <= -1e30f)
                continue;
            unsigned nbytes = state_nbytes(x, slot, kinds, sack, taken);
            close_list(x, slot, nbytes, state, score);
            if (slot < RELATIVE_OPTIONS)
                extend_list(x, slot, kinds, sack, taken, nbytes, score);
        }
    }
    memset(symbol, SYMBOL_END, RELATIVE_OPTIONS);
    memset(symbol + x->nopen, SYMBOL_EOL, x->neol);
    unsigned state = x->state, slot = x->nopen;
    if (x->tail)
        symbol[--slot] = SYMBOL_RAW;
    while (slot-- > 0) {
        symbol[slot] = x->by[slot][state];
        state = state_before(state, symbol[slot]);
    }
    return x->nopen + x->neol;
}

/* How likely a field's cells make a value: the sum of its bits. */
static float likelihood(const int8_t *row, const float *soft, const layout_field *field, unsigned value) {
    float sum = 0;
    for (unsigned b = 0; b < field->nbits; b++) {
        unsigned cell = field->first + b;
        float x = soft != NULL ? soft[cell] : row[cell] > 0 ? 1.0f : -1.0f;
        sum += value >> (field->nbits - 1u - b) & 1 ? x : -x;
    }
    return sum;
}

unsigned relative_symbols(const int8_t *row, const float *soft, uint8_t symbol[RELATIVE_OPTIONS]) {
    record records[RELATIVE_OPTIONS];
    relative_escape e = {.nbytes = 0};
    unsigned nrecords = 0;
    for (unsigned i = 0; i < RELATIVE_OPTIONS; i++)
        symbol[i] = (uint8_t)rel_get(row, REL_OPTION + i);
    if (rel_get(row, REL_ESCAPE)) {
        escape_load(&e, row);
        nrecords = find_records(&e, records);
    }
    int n = list_length(symbol, &e, records, nrecords);
    if (n >= 0)
        return (unsigned)n;
    list_search x;
    x.escape = &e;
    x.records = records;
    x.nrecords = nrecords;
    for (unsigned i = 0; i < RELATIVE_OPTIONS; i++)
        for (unsigned s = 0; s < 16; s++)
            x.score[i][s] = likelihood(row, soft, &relative_fields[REL_OPTION + i], s);
    return likeliest_list(&x, symbol);
}

unsigned relative_below(const int8_t *row, const float *soft, unsigned field, unsigned limit) {
    unsigned value = rel_get(row, field), best = 0;
    if (value < limit)
        return value;
    float most = likelihood(row, soft, &relative_fields[field], 0);
    for (unsigned other = 1; other < limit; other++) {
        float x = likelihood(row, soft, &relative_fields[field], other);
        if (x > most) {
            most = x;
            best = other;
        }
    }
    return best;
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
    for (unsigned at = 0; at < nbytes; at += edge_nbytes(codes[at]), data += 4) {
        if (codes[at] < EDGE_INDEXES) {
            edge = connection_number(peer, codes[at]);
        } else {
            uint32_t distance = codes[at + 1] & 0x80 ? UINT32_MAX : 0;
            for (unsigned i = 1; i < edge_nbytes(codes[at]); i++)
                distance = distance << 8 | codes[at + i];
            edge += distance;
        }
        put32(data, edge);
    }
}

static void take_record(const relative_escape *e, const record *r, const connection_side *peer, uint32_t ack,
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
    record records[RELATIVE_OPTIONS];
    uint8_t symbol[RELATIVE_OPTIONS], *data;
    unsigned n = relative_symbols(row, soft, symbol), nraw = 0;
    if (memchr(symbol, SYMBOL_RAW, n) != NULL)
        find_records(e, records);
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
