/* The relative layout: what lists of TCP options the symbols of a row can mean, and which of them they mean most
 * likely. The symbols and the escape's records are described in relative_options.c. */
#include <string.h>
#include "packet/relative_priv.h"

/* Bytes of the list that a symbol stands for; RAW's are its record's. */
static const uint8_t symbol_nbytes[16] = {
    [SYMBOL_NOP] = 1,         [SYMBOL_MSS] = 4,   [SYMBOL_WINDOW_SCALE] = 3, [SYMBOL_SACK_PERMITTED] = 2,
    [SYMBOL_TIMESTAMPS] = 10, [SYMBOL_SACK] = 10, [SYMBOL_SACK + 1] = 18,    [SYMBOL_SACK + 2] = 26,
    [SYMBOL_SACK + 3] = 34,   [SYMBOL_EOL] = 1};

/* ---- Records of the escape ---- */

unsigned escape_edge_nbytes(uint8_t code) {
    return code < EDGE_INDEXES ? 1 : code < EDGE_INDEXES + 4 ? 2u + code - EDGE_INDEXES : 0;
}

/* How many edges these codes are; 0 where they are no blocks. */
static unsigned count_edges(const uint8_t *codes, unsigned nbytes) {
    unsigned n = 0;
    for (unsigned at = 0, step; at < nbytes; at += step, n++)
        if ((step = escape_edge_nbytes(codes[at])) == 0 || step > nbytes - at)
            return 0;
    return n % 2 == 0 && n <= 2 * SACK_BLOCKS ? n : 0;
}

static bool tail_nbytes(const uint8_t *bytes, unsigned nbytes, unsigned *nlist) {
    uint8_t list[TCP_OPTIONS_MAX];
    unsigned nused, n = nbytes - RECORD_NHEAD;
    return escape_take_runs(bytes + RECORD_NHEAD, n, &nused, list, TCP_OPTIONS_MAX, nlist) && nused == n;
}

unsigned escape_records(const relative_escape *e, escape_record r[RELATIVE_OPTIONS]) {
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
        r[n++] = (escape_record){.at = at, .nbytes = nbytes, .nlist = nlist};
        at += nbytes;
    }
    return n;
}

static bool is_tail(const relative_escape *e, const escape_record *r) {
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
static int list_length(const uint8_t symbol[RELATIVE_OPTIONS], const relative_escape *e, const escape_record *r,
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
    const escape_record *records;
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
    escape_record records[RELATIVE_OPTIONS];
    relative_escape e = {.nbytes = 0};
    unsigned nrecords = 0;
    for (unsigned i = 0; i < RELATIVE_OPTIONS; i++)
        symbol[i] = (uint8_t)rel_get(row, REL_OPTION + i);
    if (rel_get(row, REL_ESCAPE)) {
        escape_load(&e, row);
        nrecords = escape_records(&e, records);
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
