/* Deflate for packet headers and times. See column_deflate.h.
 *
 * A general encoder looks for matches through hashes of what came before. Here the best match is known: the latest of
 * the few headers before with the same addresses, that is, of the same flow and direction. So every header is compared
 * byte by byte with that one; runs of equal bytes become matches, all at one distance, and the others literals. For
 * times, bytes are compared with the byte before. What is left is Huffman coding (dynamic blocks, RFC 1951 3.2.7). */
#include <libdeflate.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/memory.h"
#include "io/column_deflate.h"

enum { LITERALS = 286, DISTANCES = 30, LENGTHS = 19, END_OF_BLOCK = 256, CODE_MAX = 15, LENGTH_CODE_MAX = 7 };
enum { MATCH_MIN = 3, MATCH_MAX = 258, TOKENS = 1 << 16, SPARE = 512 };
enum { CANDIDATES = 4, ADDRESSES_AT = 12 }; /* of IPv4; in IPv6 it is the middle of the source */
enum { ZLIB_HEADER = 2, ZLIB_TRAILER = 4, BLOCK_HEADER_MAX = 640, TOKEN_MAX = 16 };

static const uint32_t MATCH = 1u << 31; /* a token: a literal, or MATCH | length - 3 << 16 | distance - 1 */

typedef struct code {
    uint16_t bits;
    uint8_t nbits;
} code;

struct column_deflater {
    size_t ntokens;
    uint32_t literal_count[LITERALS], distance_count[DISTANCES];
    code literal[LITERALS], distance[DISTANCES];
    uint32_t tokens[TOKENS + SPARE];
    /* output */
    uint8_t *to, *end;
    uint64_t bits;
    unsigned nbits;
    bool full;
};

status column_deflater_new(column_deflater **h) {
    return NEW(1, h);
}

void column_deflater_free(column_deflater **h) {
    memory_free(h);
}

/* --- Huffman codes --- */

typedef struct weighted {
    uint32_t count;
    uint16_t symbol;
} weighted;

static int compare_weighted(const void *a, const void *b) {
    const weighted *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? -1 : 1;
    return x->symbol < y->symbol ? -1 : 1;
}

/* How many codes of each length the Huffman tree of the rising counts has: two queues, leaves and inner nodes. */
static void count_lengths(const weighted *leaf, size_t n, unsigned longest, unsigned per_length[CODE_MAX + 1]) {
    uint64_t weight[LITERALS];
    uint16_t parent[2 * LITERALS] = {0};
    uint8_t depth[2 * LITERALS] = {0};
    size_t next_leaf = 0, next_node = 0, nnodes = 0;
    memset(per_length, 0, (CODE_MAX + 1) * sizeof *per_length);
    for (; nnodes < n - 1; nnodes++) { /* nodes are numbered from n on */
        weight[nnodes] = 0;
        for (int child = 0; child < 2; child++) {
            bool is_leaf = next_leaf < n && (next_node == nnodes || leaf[next_leaf].count <= weight[next_node]);
            weight[nnodes] += is_leaf ? leaf[next_leaf].count : weight[next_node];
            parent[is_leaf ? next_leaf++ : n + next_node++] = (uint16_t)(n + nnodes);
        }
    }
    for (size_t i = n + nnodes - 1; i-- > 0;) {
        depth[i] = (uint8_t)(depth[parent[i]] + 1);
        if (i < n)
            per_length[depth[i] < longest ? depth[i] : longest]++;
    }
    /* Codes that were cut short ask for too much: longer ones are split off shorter ones until all fit. */
    uint32_t used = 0;
    for (unsigned l = 1; l <= longest; l++)
        used += per_length[l] << (longest - l);
    for (; used > 1u << longest; used--) {
        unsigned l = longest - 1;
        while (per_length[l] == 0)
            l--;
        per_length[longest]--;
        per_length[l]--;
        per_length[l + 1] += 2;
    }
}

static uint16_t reversed(unsigned bits, unsigned n) {
    unsigned r = 0;
    for (unsigned i = 0; i < n; i++)
        r |= (bits >> i & 1) << (n - 1 - i);
    return (uint16_t)r;
}

/* Canonical codes (RFC 1951 3.2.2) for the symbols that occur; at least two get one, so that the code is complete. */
static void make_code(const uint32_t *count, size_t nsymbols, unsigned longest, code *out) {
    weighted leaf[LITERALS];
    unsigned per_length[CODE_MAX + 1];
    size_t n = 0;
    memset(out, 0, nsymbols * sizeof *out);
    for (size_t i = 0; i < nsymbols; i++)
        if (count[i] > 0)
            leaf[n++] = (weighted){.count = count[i], .symbol = (uint16_t)i};
    for (uint16_t i = 0; n < 2; i++)
        if (count[i] == 0)
            leaf[n++] = (weighted){.symbol = i};
    qsort(leaf, n, sizeof *leaf, compare_weighted);
    count_lengths(leaf, n, longest, per_length);
    size_t at = n; /* the most frequent symbols get the shortest codes */
    for (unsigned l = 1; l <= longest; l++)
        for (unsigned k = 0; k < per_length[l]; k++)
            out[leaf[--at].symbol].nbits = (uint8_t)l;
    unsigned next[CODE_MAX + 2] = {0};
    for (unsigned l = 1; l <= longest; l++)
        next[l + 1] = (next[l] + per_length[l]) << 1;
    for (size_t i = 0; i < nsymbols; i++)
        if (out[i].nbits > 0)
            out[i].bits = reversed(next[out[i].nbits]++, out[i].nbits);
}

/* --- bits --- */

/* At most 56 bits between two calls of flush_bits. */
static inline void put_bits(column_deflater *h, uint64_t bits, unsigned n) {
    h->bits |= bits << h->nbits;
    h->nbits += n;
}

static inline void flush_bits(column_deflater *h) {
    memcpy(h->to, &h->bits, 8); /* little-endian, as deflate counts its bits */
    h->to += h->nbits >> 3;
    h->bits >>= h->nbits & 56;
    h->nbits &= 7;
}

/* --- blocks --- */

static inline unsigned log2_of(unsigned x) {
    return 31 - (unsigned)__builtin_clz(x);
}

/* RFC 1951 3.2.5: symbol and number of extra bits of length - 3 and of distance - 1. */
static inline unsigned length_symbol(unsigned l, unsigned *extra) {
    *extra = l < 4 || l == MATCH_MAX - MATCH_MIN ? 0 : log2_of(l) - 2;
    return l == MATCH_MAX - MATCH_MIN ? 285 : 257 + 4 * *extra + (l >> *extra);
}

static inline unsigned distance_symbol(unsigned d, unsigned *extra) {
    *extra = d < 4 ? 0 : log2_of(d) - 1;
    return 2 * *extra + (d >> *extra);
}

/* The lengths of both codes as the code length alphabet has them: repeats of zeros (17, 18) and of others (16). */
typedef struct lengths {
    size_t n;
    uint8_t symbol[LITERALS + DISTANCES], extra[LITERALS + DISTANCES];
} lengths;

static void add_length(lengths *l, unsigned symbol, size_t extra) {
    l->symbol[l->n] = (uint8_t)symbol;
    l->extra[l->n++] = (uint8_t)extra;
}

static void run_lengths(const uint8_t *nbits, size_t n, lengths *l) {
    for (size_t i = 0; i < n;) {
        size_t run = 1;
        while (i + run < n && nbits[i + run] == nbits[i])
            run++;
        i += run;
        uint8_t value = nbits[i - 1];
        if (value != 0) {
            add_length(l, value, 0);
            run--;
        }
        while (run >= 3) {
            size_t most = value != 0 ? 6 : 138, take = run < most ? run : most;
            if (value != 0)
                add_length(l, 16, take - 3);
            else
                add_length(l, take <= 10 ? 17 : 18, take <= 10 ? take - 3 : take - 11);
            run -= take;
        }
        for (; run > 0; run--)
            add_length(l, value, 0);
    }
}

static void put_codes(column_deflater *h) {
    static const uint8_t order[LENGTHS] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    static const uint8_t extra_bits[LENGTHS] = {[16] = 2, [17] = 3, [18] = 7};
    uint8_t nbits[LITERALS + DISTANCES];
    uint32_t count[LENGTHS] = {0};
    code length[LENGTHS];
    lengths l = {.n = 0};
    unsigned nliterals = LITERALS, ndistances = DISTANCES, nlengths = LENGTHS;
    while (nliterals > 257 && h->literal[nliterals - 1].nbits == 0)
        nliterals--;
    while (ndistances > 1 && h->distance[ndistances - 1].nbits == 0)
        ndistances--;
    for (unsigned i = 0; i < nliterals; i++)
        nbits[i] = h->literal[i].nbits;
    for (unsigned i = 0; i < ndistances; i++)
        nbits[nliterals + i] = h->distance[i].nbits;
    run_lengths(nbits, nliterals + ndistances, &l);
    for (size_t i = 0; i < l.n; i++)
        count[l.symbol[i]]++;
    make_code(count, LENGTHS, LENGTH_CODE_MAX, length);
    while (nlengths > 4 && length[order[nlengths - 1]].nbits == 0)
        nlengths--;
    put_bits(h, nliterals - 257, 5);
    put_bits(h, ndistances - 1, 5);
    put_bits(h, nlengths - 4, 4);
    flush_bits(h);
    for (unsigned i = 0; i < nlengths; i++) {
        put_bits(h, length[order[i]].nbits, 3);
        flush_bits(h);
    }
    for (size_t i = 0; i < l.n; i++) {
        put_bits(h, length[l.symbol[i]].bits, length[l.symbol[i]].nbits);
        put_bits(h, l.extra[i], extra_bits[l.symbol[i]]);
        flush_bits(h);
    }
}

static void put_match(column_deflater *h, uint32_t token) {
    unsigned l = token >> 16 & 0xff, d = token & 0x7fff, extra;
    code c = h->literal[length_symbol(l, &extra)];
    put_bits(h, c.bits, c.nbits);
    put_bits(h, l & ((1u << extra) - 1), extra);
    c = h->distance[distance_symbol(d, &extra)];
    put_bits(h, c.bits, c.nbits);
    put_bits(h, d & ((1u << extra) - 1), extra);
}

/* Code the tokens gathered. A block that might not fit is not written: the stream is then too long anyway. */
static void put_block(column_deflater *h, bool last) {
    h->literal_count[END_OF_BLOCK] = 1;
    make_code(h->literal_count, LITERALS, CODE_MAX, h->literal);
    make_code(h->distance_count, DISTANCES, CODE_MAX, h->distance);
    h->full = h->full || (size_t)(h->end - h->to) < BLOCK_HEADER_MAX + TOKEN_MAX;
    if (!h->full) {
        put_bits(h, last | 2u << 1, 3);
        put_codes(h);
    }
    for (size_t i = 0; i < h->ntokens && !h->full; i++) {
        uint32_t token = h->tokens[i];
        if ((token & MATCH) != 0)
            put_match(h, token);
        else
            put_bits(h, h->literal[token].bits, h->literal[token].nbits);
        flush_bits(h);
        h->full = h->end - h->to < TOKEN_MAX;
    }
    if (!h->full) {
        put_bits(h, h->literal[END_OF_BLOCK].bits, h->literal[END_OF_BLOCK].nbits);
        flush_bits(h);
    }
    memset(h->literal_count, 0, sizeof h->literal_count);
    memset(h->distance_count, 0, sizeof h->distance_count);
    h->ntokens = 0;
}

/* --- matching --- */

/* Room for SPARE tokens. */
static inline void make_room(column_deflater *h) {
    if (h->ntokens > TOKENS)
        put_block(h, false);
}

static inline void add_literals(column_deflater *h, const uint8_t *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        h->tokens[h->ntokens++] = bytes[i];
        h->literal_count[bytes[i]]++;
    }
}

/* The n bytes before `end` equal those `distance` before them. */
static inline void add_run(column_deflater *h, const uint8_t *end, size_t n, size_t distance) {
    unsigned extra;
    while (n >= MATCH_MIN) {
        size_t take = n < MATCH_MAX ? n : MATCH_MAX;
        h->tokens[h->ntokens++] = MATCH | (uint32_t)(take - MATCH_MIN) << 16 | (uint32_t)(distance - 1);
        h->literal_count[length_symbol((unsigned)(take - MATCH_MIN), &extra)]++;
        h->distance_count[distance_symbol((unsigned)(distance - 1), &extra)]++;
        n -= take;
    }
    add_literals(h, end - n, n);
}

static inline uint64_t load64(const uint8_t *p) {
    uint64_t x;
    memcpy(&x, p, 8);
    return x;
}

/* Bit i: byte i of 64 equals. A byte of x is zero where its top bit stays clear in all three terms. */
static inline uint64_t equal_bytes(const uint8_t *a, const uint8_t *b) {
    const uint64_t low = 0x7f7f7f7f7f7f7f7fu;
    uint64_t equal = 0;
    for (unsigned i = 0; i < 8; i++) {
        uint64_t x = load64(a + 8 * i) ^ load64(b + 8 * i), zero = ~(((x & low) + low) | x | low);
        equal |= ((zero >> 7) * 0x0102040810204080u >> 56) << (8 * i);
    }
    return equal;
}

/* A run of equal bytes that ends where the work has come to. */
typedef struct run {
    size_t n, distance;
} run;

static void end_run(column_deflater *h, run *r, const uint8_t *at) {
    if (r->n > 0)
        add_run(h, at, r->n, r->distance);
    r->n = 0;
}

/* n <= 64 bytes, compared with those `distance` before. */
static inline void add_bytes(column_deflater *h, run *r, const uint8_t *bytes, size_t n) {
    uint64_t equal = equal_bytes(bytes, bytes - r->distance);
    for (size_t i = 0; i < n;) {
        uint64_t rest = equal >> i;
        size_t most = n - i;
        if ((rest & 1) != 0) {
            size_t same = ~rest == 0 ? 64 : (size_t)__builtin_ctzll(~rest);
            same = same < most ? same : most;
            r->n += same;
            i += same;
            continue;
        }
        end_run(h, r, bytes + i);
        size_t other = rest == 0 ? most : (size_t)__builtin_ctzll(rest);
        other = other < most ? other : most;
        add_literals(h, bytes + i, other);
        i += other;
    }
}

/* Where the header to compare header i with begins. */
static inline uint32_t reference_of(const uint8_t *bytes, const uint32_t *start, size_t i) {
    uint64_t addresses = load64(bytes + start[i] + ADDRESSES_AT);
    for (size_t k = 1; k <= CANDIDATES && k <= i; k++)
        if (load64(bytes + start[i - k] + ADDRESSES_AT) == addresses)
            return start[i - k];
    return start[i - 1];
}

static void add_headers(column_deflater *h, const uint8_t *bytes, size_t nbytes, const uint32_t *start,
                        size_t nstarts) {
    run r = {.n = 0};
    for (size_t i = 1; i < nstarts; i++) {
        size_t at = start[i], end = i + 1 < nstarts ? start[i + 1] : nbytes;
        size_t distance = at - reference_of(bytes, start, i);
        if (distance != r.distance)
            end_run(h, &r, bytes + at);
        r.distance = distance;
        for (; at < end; at += 64) {
            make_room(h);
            if (r.n > TOKENS) /* so that its tokens fit into the room */
                end_run(h, &r, bytes + at);
            add_bytes(h, &r, bytes + at, end - at < 64 ? end - at : 64);
        }
    }
    end_run(h, &r, bytes + nbytes);
}

static void add_unmatched(column_deflater *h, const uint8_t *bytes, size_t nbytes) {
    for (size_t at = 0; at < nbytes; at += 64) {
        make_room(h);
        add_literals(h, bytes + at, nbytes - at < 64 ? nbytes - at : 64);
    }
}

static bool begin_stream(column_deflater *h, uint8_t *stream, size_t room) {
    static const uint8_t head[ZLIB_HEADER] = {0x78, 0x01};
    if (room < ZLIB_HEADER + ZLIB_TRAILER)
        return false;
    h->to = stream + ZLIB_HEADER;
    h->end = stream + room - ZLIB_TRAILER;
    h->bits = h->nbits = 0;
    h->full = false;
    h->ntokens = 0;
    memcpy(stream, head, sizeof head);
    return true;
}

static size_t end_stream(column_deflater *h, const uint8_t *bytes, size_t nbytes, uint8_t *stream) {
    make_room(h);
    put_block(h, true);
    if (h->full)
        return 0;
    if (h->nbits > 0)
        *h->to++ = (uint8_t)h->bits;
    uint32_t adler = __builtin_bswap32(libdeflate_adler32(1, bytes, nbytes));
    memcpy(h->to, &adler, sizeof adler);
    return (size_t)(h->to - stream) + sizeof adler;
}

size_t deflate_headers(column_deflater *h, const uint8_t *bytes, size_t nbytes, const uint32_t *start, size_t nstarts,
                       uint8_t *stream, size_t room) {
    if (!begin_stream(h, stream, room))
        return 0;
    add_unmatched(h, bytes, nstarts > 1 ? start[1] : nbytes);
    if (nstarts > 1)
        add_headers(h, bytes, nbytes, start, nstarts);
    return end_stream(h, bytes, nbytes, stream);
}

size_t deflate_runs(column_deflater *h, const uint8_t *bytes, size_t nbytes, uint8_t *stream, size_t room) {
    run r = {.distance = 1};
    if (!begin_stream(h, stream, room))
        return 0;
    add_unmatched(h, bytes, nbytes > 0);
    for (size_t at = 1; at < nbytes; at += 64) {
        make_room(h);
        if (r.n > TOKENS)
            end_run(h, &r, bytes + at);
        add_bytes(h, &r, bytes + at, nbytes - at < 64 ? nbytes - at : 64);
    }
    end_run(h, &r, bytes + nbytes);
    return end_stream(h, bytes, nbytes, stream);
}
