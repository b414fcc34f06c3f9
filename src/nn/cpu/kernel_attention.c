/* Attention for short sequences: one (sample, head) at a time, in blocks of queries, with everything in the caches.
 *
 * k (and v for the backward pass) is transposed once per head, so that every product has the form C = A B with rows of
 * B contiguous: A is read element by element and broadcast, B and C by vectors, a tile of C stays in registers. The
 * same tile serves all seven products of forward and backward; A may be read transposed. */
#include <math.h>
#include "nn/cpu/kernels.h"

enum {
    QUERY_BLOCK = 32,
    TILE_ROWS = LANES == 16 ? 8 : 4 /* times two vectors: half the registers, the rest hold B */
};

/* C = or += factor * A B. Element (i, p) of A is a[i * a_row + p * a_k]; row p of B starts at b + p * b_k. */
typedef struct matrix_product {
    const float *a;
    size_t a_row, a_k;
    const float *b;
    size_t b_k;
    float *c;
    size_t c_row;
    size_t k;
    float factor;
    bool add;
} matrix_product;

/* rows x vecs vectors at row i, column j; n lanes of the last vector. rows, vecs and mostly n are constants. */
INLINE void tile(const matrix_product *p, size_t rows, size_t vecs, size_t n, size_t i, size_t j) {
    vec sum[TILE_ROWS][2] = {{{0}}};
    const float *a = p->a + i * p->a_row, *b = p->b + j;
    size_t a_row = p->a_row, a_k = p->a_k, b_k = p->b_k;
    for (size_t q = 0; q < p->k; q++, a += a_k, b += b_k) {
        vec bv[2];
        for (size_t w = 0; w < vecs; w++)
            bv[w] = vec_load_n(b + w * LANES, w + 1 == vecs ? n : LANES);
#pragma GCC unroll 8
        for (size_t r = 0; r < rows; r++) {
            vec av = vec_set(a[r * a_row]);
            for (size_t w = 0; w < vecs; w++)
                sum[r][w] += av * bv[w];
        }
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < rows; r++)
        for (size_t w = 0; w < vecs; w++) {
            size_t m = w + 1 == vecs ? n : LANES;
            float *c = p->c + (i + r) * p->c_row + j + w * LANES;
            vec v = sum[r][w] * p->factor;
            vec_store_n(c, p->add ? vec_load_n(c, m) + v : v, m);
        }
}

INLINE void tile_column(const matrix_product *p, size_t rows, size_t vecs, size_t n, size_t j) {
    size_t i = 0;
    for (; i + TILE_ROWS <= rows; i += TILE_ROWS)
        tile(p, TILE_ROWS, vecs, n, i, j);
    if (TILE_ROWS > 4 && i + 4 <= rows) {
        tile(p, TILE_ROWS > 4 ? 4 : 1, vecs, n, i, j);
        i += 4;
    }
    if (i + 2 <= rows) {
        tile(p, 2, vecs, n, i, j);
        i += 2;
    }
    if (i < rows)
        tile(p, 1, vecs, n, i, j);
}

static void multiply(const matrix_product *p, size_t rows, size_t columns) {
    size_t j = 0;
    for (; j + 2 * LANES <= columns; j += 2 * LANES)
        tile_column(p, rows, 2, LANES, j);
    if (j + LANES <= columns) {
        tile_column(p, rows, 1, LANES, j);
        j += LANES;
    }
    if (j < columns)
        tile_column(p, rows, 1, columns - j, j);
}

/* x (rows, d) with row pitch `pitch` -> to (d, padded), columns past rows zero. */
static void transpose(size_t rows, size_t d, const float *x, size_t pitch, size_t padded, float *to) {
    for (size_t r = 0; r < padded; r += LANES)
        for (size_t c = 0; c < d; c += LANES) {
            size_t n = d - c < LANES ? d - c : LANES;
            vec t[LANES];
            for (size_t i = 0; i < LANES; i++)
                t[i] = r + i < rows ? vec_load_n(x + (r + i) * pitch + c, n) : vec_set(0);
            vec_transpose(t);
            for (size_t i = 0; i < n; i++)
                vec_store(to + (c + i) * padded + r, t[i]);
        }
}

static size_t padded_tokens(size_t tokens) {
    return (tokens + LANES - 1) / LANES * LANES;
}

/* Per thread: transposed k and a block of scores; backward: also transposed v and the block's gradient. */
static size_t thread_scratch(attention_shape s, bool back) {
    size_t one = padded_tokens(s.tokens) * (s.d + QUERY_BLOCK);
    return ((back ? 2 * one : one) + 15) / 16 * 16;
}

size_t KERNEL(attention_scratch)(attention_shape s, bool back) {
    return thread_scratch(s, back) * (size_t)s.threads;
}

/* The place of one (sample, head): pitch between tokens in qkv and in out, and the keys that a block can see. */
typedef struct head_place {
    size_t qkv, out, stat;
    size_t pitch, out_pitch, model; /* model = heads * d: distance from q to k and from k to v */
    size_t padded;
    float factor;
} head_place;

static head_place place_of(const attention_shape *s, size_t pair) {
    size_t sample = pair / s->heads, head = pair % s->heads, model = s->heads * s->d;
    return (head_place){.qkv = sample * s->tokens * 3 * model + head * s->d,
                        .out = sample * s->tokens * model + head * s->d,
                        .stat = pair * s->tokens,
                        .pitch = 3 * model,
                        .out_pitch = model,
                        .model = model,
                        .padded = padded_tokens(s->tokens),
                        .factor = 1 / sqrtf((float)s->d)};
}

/* exp(x - top) of the first `seen` of `columns` (whole vectors) elements, zeros after; returns the sum. */
static float exp_row(size_t seen, size_t columns, float top, float *x) {
    vec sum = vec_set(0);
    size_t i = 0;
    for (; i + LANES <= seen; i += LANES) {
        vec v = vec_exp(vec_load(x + i) - top);
        vec_store(x + i, v);
        sum += v;
    }
    for (; i < columns; i += LANES) {
        vec v = i < seen ? vec_first(vec_exp(vec_load(x + i) - top), seen - i) : vec_set(0);
        vec_store(x + i, v);
        sum += v;
    }
    return vec_sum(sum);
}

static float highest_of(size_t seen, const float *x) {
    vec top = vec_set(x[0]);
    size_t i = 0;
    for (; i + LANES <= seen; i += LANES)
        top = vec_max(top, vec_load(x + i));
    if (i < seen) /* the tail is filled up with what is in already */
        top = vec_max(top, vec_select(vec_lane() < (int32_t)(seen - i), vec_load(x + i), top));
    return vec_highest(top);
}

static size_t seen_by(const attention_shape *s, size_t query) {
    return s->causal ? query + 1 : s->tokens;
}

/* Scores of queries first .. first + rows - 1 against all keys they may see -> block (rows, padded). */
static void scores(const attention_shape *s, const head_place *h, const float *qkv, const float *kt, size_t first,
                   size_t rows, size_t columns, float *block) {
    matrix_product p = {.a = qkv + h->qkv + first * h->pitch,
                        .a_row = h->pitch,
                        .a_k = 1,
                        .b = kt,
                        .b_k = h->padded,
                        .c = block,
                        .c_row = h->padded,
                        .k = s->d,
                        .factor = h->factor};
    multiply(&p, rows, columns);
}

static void attend_head(const attention_shape *s, size_t pair, const float *qkv, float *out, float *logsum,
                        float *scratch) {
    head_place h = place_of(s, pair);
    float *kt = scratch, *block = scratch + h.padded * s->d;
    transpose(s->tokens, s->d, qkv + h.qkv + h.model, h.pitch, h.padded, kt);
    for (size_t first = 0; first < s->tokens; first += QUERY_BLOCK) {
        size_t rows = s->tokens - first < QUERY_BLOCK ? s->tokens - first : QUERY_BLOCK;
        size_t keys = seen_by(s, first + rows - 1), columns = padded_tokens(keys);
        scores(s, &h, qkv, kt, first, rows, columns, block);
        for (size_t r = 0; r < rows; r++) {
            float *row = block + r * h.padded;
            size_t seen = seen_by(s, first + r);
            float top = highest_of(seen, row), sum = exp_row(seen, columns, top, row);
            if (logsum != NULL)
                logsum[h.stat + first + r] = top + logf(sum);
            for (size_t i = 0; i < columns; i += LANES)
                vec_store(row + i, vec_load(row + i) * (1 / sum));
        }
        matrix_product p = {.a = block,
                            .a_row = h.padded,
                            .a_k = 1,
                            .b = qkv + h.qkv + 2 * h.model,
                            .b_k = h.pitch,
                            .c = out + h.out + first * h.out_pitch,
                            .c_row = h.out_pitch,
                            .k = keys,
                            .factor = 1};
        multiply(&p, rows, s->d);
    }
}

void KERNEL(attend)(attention_shape s, const float *qkv, float *out, float *logsum, float *scratch) {
#pragma omp parallel for num_threads(s.threads) if (s.threads > 1)
    for (int t = 0; t < s.threads; t++) {
        range r = range_of_items(s.samples * s.heads, s.threads, t);
        for (size_t pair = r.first; pair < r.last; pair++)
            attend_head(&s, pair, qkv, out, logsum, scratch + (size_t)t * thread_scratch(s, false));
    }
}

/* ---- Backward: dv = p^T dout, dp = dout v^T, ds = p (dp - sum(dout out)), dq = ds k, dk = ds^T q, all scaled. ---- */

typedef struct back_place {
    head_place h;
    const float *qkv, *out, *logsum, *dout;
    float *dqkv;
    float *kt, *vt, *p, *ds;
} back_place;

static float dot(size_t n, const float *x, const float *y) {
    vec sum = vec_set(0);
    for (size_t i = 0; i < n; i += LANES) {
        size_t m = n - i < LANES ? n - i : LANES;
        sum += vec_load_n(x + i, m) * vec_load_n(y + i, m);
    }
    return vec_sum(sum);
}

/* p and ds of the block's queries. */
static void block_gradients(const attention_shape *s, const back_place *b, size_t first, size_t rows, size_t columns) {
    const head_place *h = &b->h;
    scores(s, h, b->qkv, b->kt, first, rows, columns, b->p);
    matrix_product dp = {.a = b->dout + h->out + first * h->out_pitch,
                         .a_row = h->out_pitch,
                         .a_k = 1,
                         .b = b->vt,
                         .b_k = h->padded,
                         .c = b->ds,
                         .c_row = h->padded,
                         .k = s->d,
                         .factor = 1};
    multiply(&dp, rows, columns);
    for (size_t r = 0; r < rows; r++) {
        float *p = b->p + r * h->padded, *ds = b->ds + r * h->padded;
        size_t at = h->out + (first + r) * h->out_pitch;
        exp_row(seen_by(s, first + r), columns, b->logsum[h->stat + first + r], p);
        float mean = dot(s->d, b->dout + at, b->out + at);
        for (size_t i = 0; i < columns; i += LANES)
            vec_store(ds + i, vec_load(p + i) * (vec_load(ds + i) - mean));
    }
}

/* The block's part of dq, dk and dv. */
static void block_deliver(const attention_shape *s, const back_place *b, size_t first, size_t rows, size_t keys,
                          bool add_q, bool add_kv) {
    const head_place *h = &b->h;
    const float *q = b->qkv + h->qkv;
    float *dq = b->dqkv + h->qkv;
    matrix_product p = {.a = b->ds,
                        .a_row = h->padded,
                        .a_k = 1,
                        .b = q + h->model,
                        .b_k = h->pitch,
                        .c = dq + first * h->pitch,
                        .c_row = h->pitch,
                        .k = keys,
                        .factor = h->factor,
                        .add = add_q};
    multiply(&p, rows, s->d);
    p.a_row = 1;
    p.a_k = h->padded;
    p.b = q + first * h->pitch;
    p.c = dq + h->model;
    p.k = rows;
    p.add = add_kv;
    multiply(&p, keys, s->d);
    p.a = b->p;
    p.b = b->dout + h->out + first * h->out_pitch;
    p.b_k = h->out_pitch;
    p.c = dq + 2 * h->model;
    p.factor = 1;
    multiply(&p, keys, s->d);
}

static void attend_back_head(const attention_shape *s, back_place *b, bool add) {
    const head_place *h = &b->h;
    transpose(s->tokens, s->d, b->qkv + h->qkv + h->model, h->pitch, h->padded, b->kt);
    transpose(s->tokens, s->d, b->qkv + h->qkv + 2 * h->model, h->pitch, h->padded, b->vt);
    bool many = s->tokens > QUERY_BLOCK; /* then dk and dv add up over blocks, from zero */
    for (size_t t = 0; many && !add && t < s->tokens; t++)
        for (size_t part = 1; part <= 2; part++)
            memset(b->dqkv + h->qkv + t * h->pitch + part * h->model, 0, s->d * sizeof(float));
    for (size_t first = 0; first < s->tokens; first += QUERY_BLOCK) {
        size_t rows = s->tokens - first < QUERY_BLOCK ? s->tokens - first : QUERY_BLOCK;
        size_t keys = seen_by(s, first + rows - 1);
        block_gradients(s, b, first, rows, padded_tokens(keys));
        block_deliver(s, b, first, rows, keys, add, add || many);
    }
}

void KERNEL(attend_back)(attention_shape s, const float *qkv, const float *out, const float *logsum, const float *dout,
                         bool add, float *dqkv, float *scratch) {
#pragma omp parallel for num_threads(s.threads) if (s.threads > 1)
    for (int t = 0; t < s.threads; t++) {
        range r = range_of_items(s.samples * s.heads, s.threads, t);
        float *mine = scratch + (size_t)t * thread_scratch(s, true);
        size_t padded = padded_tokens(s.tokens);
        back_place b = {.qkv = qkv, .out = out, .logsum = logsum, .dout = dout, .dqkv = dqkv};
        b.kt = mine;
        b.vt = b.kt + padded * s.d;
        b.p = b.vt + padded * s.d;
        b.ds = b.p + padded * QUERY_BLOCK;
        for (size_t pair = r.first; pair < r.last; pair++) {
            b.h = place_of(&s, pair);
            attend_back_head(&s, &b, add);
        }
    }
}
