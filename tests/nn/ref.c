/* Plain references: see ref.h. */
#include "nn/ref.h"
#include <math.h>

size_t ref_index(size_t i, size_t n) {
    return i * i % n;
}

/* size: rows, K, M. in: x, w, b. */
static void linear(const size_t size[5], const double *const in[4], const double *bias, double *out) {
    size_t rows = size[0], k = size[1], m = size[2];
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < m; j++) {
            double sum = bias == NULL ? 0 : bias[j];
            for (size_t i = 0; i < k; i++)
                sum += in[0][r * k + i] * in[1][j * k + i];
            out[r * m + j] = sum;
        }
}

void ref_linear(const size_t size[5], const double *const in[4], double *out) {
    linear(size, in, in[2], out);
}

void ref_linear_plain(const size_t size[5], const double *const in[4], double *out) {
    linear(size, in, NULL, out);
}

/* size: rows, C. */
void ref_add(const size_t size[5], const double *const in[4], double *out) {
    for (size_t i = 0; i < size[0] * size[1]; i++)
        out[i] = in[0][i] + in[1][i];
}

void ref_axpy(const size_t size[5], const double *const in[4], double *out) {
    for (size_t i = 0; i < size[0] * size[1]; i++)
        out[i] = in[0][i] + REF_FACTOR * in[1][i];
}

void ref_scale(const size_t size[5], const double *const in[4], double *out) {
    for (size_t i = 0; i < size[0] * size[1]; i++)
        out[i] = REF_FACTOR * in[0][i];
}

void ref_mul(const size_t size[5], const double *const in[4], double *out) {
    for (size_t i = 0; i < size[0] * size[1]; i++)
        out[i] = in[0][i] * in[1][i];
}

void ref_gelu(const size_t size[5], const double *const in[4], double *out) {
    for (size_t i = 0; i < size[0] * size[1]; i++) {
        double x = in[0][i];
        out[i] = 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    }
}

void ref_quick_gelu(const size_t size[5], const double *const in[4], double *out) {
    for (size_t i = 0; i < size[0] * size[1]; i++)
        out[i] = in[0][i] / (1 + exp(-1.702 * in[0][i]));
}

void ref_silu(const size_t size[5], const double *const in[4], double *out) {
    for (size_t i = 0; i < size[0] * size[1]; i++)
        out[i] = in[0][i] / (1 + exp(-in[0][i]));
}

/* size: N, T, C. in: x (N, T, C), y. */
void ref_add_all(const size_t size[5], const double *const in[4], double *out) {
    for (size_t i = 0; i < size[0] * size[1] * size[2]; i++)
        out[i] = in[0][i] + in[1][i % size[2]];
}

void ref_add_sample(const size_t size[5], const double *const in[4], double *out) {
    for (size_t i = 0; i < size[0] * size[1] * size[2]; i++)
        out[i] = in[0][i] + in[1][i % (size[1] * size[2])];
}

void ref_add_token(const size_t size[5], const double *const in[4], double *out) {
    for (size_t i = 0; i < size[0] * size[1] * size[2]; i++)
        out[i] = in[0][i] + in[1][i / (size[1] * size[2]) * size[2] + i % size[2]];
}

/* One row of c elements, normalised. */
static void normalise(size_t c, const double *x, double *out) {
    double mean = 0, square = 0;
    for (size_t i = 0; i < c; i++)
        mean += x[i] / (double)c;
    for (size_t i = 0; i < c; i++)
        square += (x[i] - mean) * (x[i] - mean) / (double)c;
    for (size_t i = 0; i < c; i++)
        out[i] = (x[i] - mean) / sqrt(square + REF_EPSILON);
}

/* size: rows, C. in: x, gain, bias. */
void ref_layernorm_plain(const size_t size[5], const double *const in[4], double *out) {
    for (size_t r = 0; r < size[0]; r++)
        normalise(size[1], in[0] + r * size[1], out + r * size[1]);
}

void ref_layernorm(const size_t size[5], const double *const in[4], double *out) {
    ref_layernorm_plain(size, in, out);
    for (size_t i = 0; i < size[0] * size[1]; i++)
        out[i] = out[i] * in[1][i % size[1]] + in[2][i % size[1]];
}

/* size: N, T, C. in: x, shift, scale. */
void ref_modulate(const size_t size[5], const double *const in[4], double *out) {
    size_t t = size[1], c = size[2];
    for (size_t r = 0; r < size[0] * t; r++) {
        normalise(c, in[0] + r * c, out + r * c);
        for (size_t i = 0; i < c; i++)
            out[r * c + i] = out[r * c + i] * (1 + in[2][r / t * c + i]) + in[1][r / t * c + i];
    }
}

/* size: N, T, C. in: x, gate, y. */
void ref_gate(const size_t size[5], const double *const in[4], double *out) {
    size_t t = size[1], c = size[2];
    for (size_t i = 0; i < size[0] * t * c; i++)
        out[i] = in[0][i] + in[1][i / (t * c) * c + i % c] * in[2][i];
}

/* One query of one head: q, k, v have the given pitch between tokens. */
static void attend(size_t tokens, size_t d, size_t pitch, const double *q, const double *k, const double *v,
                   double *out) {
    double sum = 0;
    for (size_t i = 0; i < d; i++)
        out[i] = 0;
    for (size_t t = 0; t < tokens; t++) {
        double score = 0;
        for (size_t i = 0; i < d; i++)
            score += q[i] * k[t * pitch + i];
        double weight = exp(score / sqrt((double)d));
        sum += weight;
        for (size_t i = 0; i < d; i++)
            out[i] += weight * v[t * pitch + i];
    }
    for (size_t i = 0; i < d; i++)
        out[i] /= sum;
}

/* size: N, T, H, D. in: qkv (N, T, 3 H D). */
static void attention(const size_t size[5], const double *const in[4], int causal, double *out) {
    size_t tokens = size[1], heads = size[2], d = size[3], model = heads * d;
    for (size_t n = 0; n < size[0]; n++)
        for (size_t t = 0; t < tokens; t++)
            for (size_t h = 0; h < heads; h++) {
                const double *sample = in[0] + n * tokens * 3 * model + h * d;
                attend(causal ? t + 1 : tokens, d, 3 * model, sample + t * 3 * model, sample + model,
                       sample + 2 * model, out + (n * tokens + t) * model + h * d);
            }
}

void ref_attention(const size_t size[5], const double *const in[4], double *out) {
    attention(size, in, 0, out);
}

void ref_attention_causal(const size_t size[5], const double *const in[4], double *out) {
    attention(size, in, 1, out);
}

/* size: n, C, V. in: table (V, C). */
void ref_rows(const size_t size[5], const double *const in[4], double *out) {
    for (size_t i = 0; i < size[0]; i++)
        for (size_t c = 0; c < size[1]; c++)
            out[i * size[1] + c] = in[0][ref_index(i, size[2]) * size[1] + c];
}

void ref_embedding(const size_t size[5], const double *const in[4], double *out) {
    ref_rows(size, in, out);
}

/* size: rows, C, first, n. */
void ref_columns(const size_t size[5], const double *const in[4], double *out) {
    for (size_t r = 0; r < size[0]; r++)
        for (size_t c = 0; c < size[3]; c++)
            out[r * size[3] + c] = in[0][r * size[1] + size[2] + c];
}

/* size: rows, A, B. */
void ref_concat(const size_t size[5], const double *const in[4], double *out) {
    size_t a = size[1], b = size[2];
    for (size_t r = 0; r < size[0]; r++)
        for (size_t c = 0; c < a + b; c++)
            out[r * (a + b) + c] = c < a ? in[0][r * a + c] : in[1][r * b + c - a];
}

/* size: rows, C. in: x, target, weight (the last two are constants). */
static void mse(const size_t size[5], const double *const in[4], const double *weight, double *out) {
    size_t n = size[0] * size[1];
    *out = 0;
    for (size_t i = 0; i < n; i++)
        *out += (weight == NULL ? 1 : weight[i]) * (in[0][i] - in[1][i]) * (in[0][i] - in[1][i]) / (double)n;
}

void ref_mse(const size_t size[5], const double *const in[4], double *out) {
    mse(size, in, NULL, out);
}

void ref_mse_weighted(const size_t size[5], const double *const in[4], double *out) {
    mse(size, in, in[2], out);
}

void ref_sum(const size_t size[5], const double *const in[4], double *out) {
    *out = 0;
    for (size_t i = 0; i < size[0] * size[1]; i++)
        *out += in[0][i];
}
