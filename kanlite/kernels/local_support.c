/* A layer of B-spline edges at the cost of the k+1 basis functions that are not zero.

   The layer  y_bo = sum_i ( sum_m B_m(x_bi) W_imo + r(x_bi) R_io )  is a matrix product with a
   dense matrix of basis values. But of the n functions B_m only the k+1 on the cell of x_bi are
   not zero, so that one sample's work for one input is

       y_b  +=  w_0 W[i, f]  +  ...  +  w_k W[i, f + k]  +  r R[i],

   a weighted sum of k+1 adjacent rows of W[i] and one row of R. Three functions do it, and are
   closed under differentiation: the derivative of any order d only changes the weights w.

       forward          y_bo  = sum_i h_bi (sum_m B_m^(d)(x_bi) W_imo + r^(d)(x_bi) R_io)
       input_gradient   u_bi  = sum_o g_bo (sum_m B_m^(d)(x_bi) W_imo + r^(d)(x_bi) R_io)
       weight_gradient  dW_imo = sum_b h_bi B_m^(d)(x_bi) g_bo,  dR_io = sum_b h_bi r^(d)(x_bi) g_bo

   The file reads from top to bottom: (1) pieces: on each cell the k+1 functions are polynomials;
   (2) records: what the loops need of one (sample, input); (3) the three loops over records,
   as wide as the registers; (4) threads; (5) the three functions.

   It is compiled once for each degree and number type: -DDEGREE=3 -DSINGLE=1 (float) or 0 (double).

   Names: k degree, K knots, n = K - k - 1 rows (basis functions), d order of the derivative,
   w weights, f first row, h sample weights; `tile` a slice of the outputs that fits registers. */

#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if SINGLE
typedef float real;
typedef int32_t bits;
#else
typedef double real;
typedef int64_t bits;
#endif
typedef ptrdiff_t size;

#define ROWS (DEGREE + 1)           /* functions that are not zero on a cell */
#define PAD (ROWS <= 4 ? 4 : 8)     /* the same, as a vector */
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define REGISTERS (BYTES == 64 ? 32 : 16)
#define MAX_VECTORS 4               /* of a tile: 4 x 64 bytes are 64 floats */
#define WEIGHT_VECTORS (REGISTERS / (DEGREE + 3) < 4 ? REGISTERS / (DEGREE + 3) : 4)
#define SAMPLES (REGISTERS / 8)     /* that the forward loop takes at once */
#define LANES ((size)(BYTES / sizeof(real)))
#define BLOCK 512                   /* samples whose records are kept at a time */
#define GROUP 16                    /* inputs whose records are kept at a time, at most */
#define CACHE (28 * 1024)           /* bytes of coefficients that stay in the first-level cache */
#define WORK_PER_THREAD 2000000     /* multiply-adds that are worth a thread */

/* A vector register of `real`, and the same anywhere in memory. */
typedef real vec __attribute__((vector_size(BYTES)));
typedef real loose __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias));
typedef bits mask __attribute__((vector_size(BYTES)));      /* what comparisons give */
typedef real weights __attribute__((vector_size(PAD * sizeof(real)), aligned(sizeof(real))));

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

INLINE vec load(const real *at) { return *(const loose *)at; }
INLINE void store(real *at, vec value) { *(loose *)at = value; }
INLINE size least(size a, size b) { return a < b ? a : b; }

enum { LINEAR, CONSTANT, ZERO, NATURAL };   /* what happens outside of the domain */

typedef struct {
    size batch, in, out, num_knots, per_feature;    /* per_feature: one knot vector per input */
    int extrapolate, order, threads;
    const real *x, *coef, *residual, *knots, *h, *grad;   /* residual and h may be absent */
    real *result, *residual_result;
} problem;

/* 1. Pieces ---------------------------------------------------------------------------------

   A knot vector becomes a row of pieces: left of the domain, its cells, right of it. On a piece
   weight j is the polynomial in t = (x - middle) / length whose coefficients are power[0..k][j]:
   all k+1 weights come from one Horner scheme on short vectors, for any knots, any
   extrapolation and any derivative. edge[p] is where piece p starts. */

typedef struct {
    weights power[ROWS];
    real origin, inverse;           /* 1 / length */
    int32_t first;                  /* the row of W that weight 0 belongs to */
} __attribute__((aligned(16))) piece;

typedef struct {
    size pieces, edges;             /* of one knot vector; edges: a power of two, NaN at the end */
    int even;                       /* all knots evenly spaced, nearly: the cell by one product */
    piece *piece;
    real *edge, *start, *inverse;   /* (x - start) * inverse is the piece or up to one less */
} splines;

static size cells_of(const problem *p) {
    return p->num_knots - 1 - (p->extrapolate == NATURAL ? 0 : 2 * DEGREE);
}

/* Polynomials in (x - origin) / length of the functions c-k..c on cell c, by the Cox-de Boor
   recursion on coefficients; the last d of the k steps differentiate instead. */
static void polynomials(const real *t, size K, size c, size d, double origin,
                        double result[ROWS][ROWS]) {
    double length = (double)t[c + 1] - t[c];
    memset(result, 0, sizeof(double[ROWS][ROWS]));
    if (d > DEGREE || length <= 0) return;
    result[0][0] = 1;
    UNROLL for (size j = 1; j <= DEGREE; j++) {
        double next[ROWS][ROWS] = {{0}};
        UNROLL for (size r = 0; r < j; r++) {
            size q = c - j + 1 + r;             /* B_{q,j-1} feeds B_{q-1,j} and B_{q,j} */
            if (q < 0 || q + j >= K) continue;  /* no such function */
            double scale = 1 / ((double)t[q + j] - t[q]);
            UNROLL for (size power = 0; power < j; power++) {
                double value = result[r][power] * scale;
                if (j > DEGREE - d) {
                    next[r][power] -= j * value;
                    next[r + 1][power] += j * value;
                } else {
                    next[r][power] += (t[q + j] - origin) * value;
                    next[r][power + 1] -= length * value;
                    next[r + 1][power] += (origin - t[q]) * value;
                    next[r + 1][power + 1] += length * value;
                }
            }
        }
        memcpy(result, next, sizeof next);
    }
}

/* The piece of cell c around an origin, of which the first `terms` powers are kept. In the padding
   of "natural" fewer than k+1 functions exist: the window of rows stays inside, the weights move. */
static void make_piece(piece *out, const problem *p, const real *t, size c, real origin, size terms) {
    size K = p->num_knots, first = c - DEGREE, last = K - 2 * DEGREE - 2;
    size inside = first < 0 ? 0 : least(first, last);
    double polynomial[ROWS][ROWS], length = (double)t[c + 1] - t[c];
    polynomials(t, K, c, p->order, origin, polynomial);
    memset(out, 0, sizeof *out);
    UNROLL for (size j = 0; j < ROWS; j++) {
        size from = inside - first + j;
        for (size power = 0; from >= 0 && from < ROWS && power < terms; power++)
            out->power[power][j] = (real)polynomial[from][power];
    }
    out->origin = origin;
    out->inverse = length > 0 ? (real)(1 / length) : 0;
    out->first = (int32_t)inside;
}

static real above(real value) {     /* the next number: x > value is x >= above(value) */
#if SINGLE
    return nextafterf(value, INFINITY);
#else
    return nextafter(value, INFINITY);
#endif
}

/* All pieces of one knot vector. x is on piece p if edge[p] <= x < edge[p + 1]; an end of the
   domain belongs to the last cell before it, so edges there are the next number above. */
static void make_pieces(splines *s, const problem *p, size which) {
    size K = p->num_knots, cells = s->pieces - 2, skip = p->extrapolate == NATURAL ? 0 : DEGREE;
    const real *t = p->knots + which * K;
    real high = t[K - DEGREE - 1], *edge = s->edge + which * s->edges;
    piece *all = s->piece + which * s->pieces;
    for (size e = 0; e < s->edges; e++) {
        real knot = e >= 1 && e < s->pieces ? t[skip + e - 1] : (real)NAN;
        edge[e] = knot == high ? above(high) : knot;
    }
    for (size e = skip; e < skip + cells; e++)
        make_piece(&all[e - skip + 1], p, t, e, (real)(0.5 * ((double)t[e] + t[e + 1])), ROWS);
    /* Beyond the ends: a Taylor polynomial of degree 1 or 0, or nothing ("zero", and "natural",
       whose own cells reach as far as its functions do); each derivative takes one term. */
    size terms = p->extrapolate == LINEAR ? 2 : p->extrapolate == CONSTANT ? 1 : 0;
    terms = terms < p->order ? 0 : terms - p->order;
    size left = DEGREE, right = K - DEGREE - 2;
    while (left < right && t[left + 1] <= t[DEGREE]) left++;
    while (right > left && t[right] >= high) right--;
    make_piece(&all[0], p, t, left, t[left], terms);
    make_piece(&all[cells + 1], p, t, right, t[right + 1], terms);
    /* Where knots are even to a hundredth of a step, (x - start) / step is the piece or up to one
       less: one comparison with the true edge decides. */
    double step = ((double)t[skip + cells] - t[skip]) / cells;
    s->even &= step > 0 && cells < 60000;
    for (size e = 0; e <= cells; e++)
        s->even &= fabs((double)t[skip + e] - t[skip] - e * step) < 0.01 * step;
    s->start[which] = (real)(t[skip] - 0.98 * step);
    s->inverse[which] = (real)(1 / step);
}

/* 2. Records -------------------------------------------------------------------------------- */

typedef struct {
    weights weight;
    real residual;
    int32_t first;
} __attribute__((aligned(32))) record;          /* no weights across two cache lines */

INLINE vec pick(mask which, vec yes, vec no) {
    return (vec)((which & (mask)yes) | (~which & (mask)no));
}

/* What one thread does: a range of samples, inputs and tiles, and memory of its own. */
typedef struct part part;
struct part {
    const problem *p;
    const splines *s;
    void (*run)(const part *);
    size b0, b1, i0, i1, tile0, tile1;
    size vectors, width, tiles;                     /* how the outputs are cut */
    size group;                                     /* inputs whose records are kept at a time */
    record *records;
    real *residuals;                                /* of the samples and inputs at hand, */
    bits *pieces;                                   /* and where they lie */
    real *packed, *wide;                            /* coefficients; results or gradients */
    int32_t *order;
    size *start;
};

/* exp(-a) for a >= 0 as 2^-n e^r with abs(r) <= log(2) / 2: adding and subtracting `big` rounds,
   log(2) comes in two parts, 2^-n is made of its bits. */
INLINE vec exp_minus(vec a) {
#if SINGLE
    const real most = 87, big = 12582912, log2_high = 0.693359375f, log2_low = -2.12194440e-4f;
    const int terms = 7, bias = 127, mantissa = 23;
#else
    const real most = 708, big = 6755399441055744;
    const real log2_high = 6.93147180369123816490e-01, log2_low = 1.90821492927058770002e-10;
    const int terms = 13, bias = 1023, mantissa = 52;
#endif
    mask small = a < most;                      /* beyond it, and for NaN: exactly 0 */
    a = pick(small, a, (vec){0});
    vec n = (a * (real)1.44269504088896340736 + big) - big, e = 1 - (vec){0};
    vec r = n * log2_high - a + n * log2_low;
    UNROLL for (int i = terms; i > 0; i--) e = 1 + r * (real)(1.0 / i) * e;
    vec result = e * (vec)((bias - __builtin_convertvector(n, mask)) << mantissa);
    return (vec)((mask)result & small);
}

/* Derivatives 0 to 3 of silu(x) = x s, s the sigmoid, q = 1 - s without cancellation. */
INLINE vec silu(vec x, int order) {
    mask negative = x < 0;
    vec e = exp_minus(pick(negative, -x, x)), larger = 1 / (1 + e), smaller = e * larger;
    vec s = pick(negative, smaller, larger), q = pick(negative, larger, smaller);
    if (order == 1) return s + x * s * q;
    if (order == 2) return s * q * (2 + x * (q - s));
    if (order == 3) return s * q * (3 * (q - s) + x * (1 - 6 * s * q));
    return x * s;
}

/* For `count` inputs in a row, from input i0 on: the residual, and the piece or one less. */
static void prepare(const part *one, const real *x, size count, size i0, int with_residual) {
    const problem *p = one->p;
    const splines *s = one->s;
    vec start = s->start[0] - (vec){0}, inverse = s->inverse[0] - (vec){0};
    const vec last = (real)(s->pieces - 2) - (vec){0};
    for (size i = 0; i < count; i += LANES) {
        size here = least(LANES, count - i);
        vec some = {0};
        if (here == LANES) some = load(x + i);
        else memcpy(&some, x + i, here * sizeof(real));
        store(one->residuals + i, with_residual ? silu(some, p->order) : (vec){0});
        if (p->per_feature) start = load(s->start + i0 + i), inverse = load(s->inverse + i0 + i);
        vec at = (some - start) * inverse;      /* NaN becomes 0 */
        at = pick(at < last, pick(at > 0, at, (vec){0}), last);
        mask whole = __builtin_convertvector(at, mask);
        memcpy(one->pieces + i, &whole, sizeof whole);
    }
    for (size i = 0; i < count && !s->even; i++) {      /* bisection */
        const real *edge = s->edge + (p->per_feature ? i0 + i : 0) * s->edges;
        size at = 0;
        for (size step = s->edges / 2; step > 0; step /= 2) at += x[i] >= edge[at + step] ? step : 0;
        one->pieces[i] = (bits)at;
    }
}

/* Records of samples b0..b1 and inputs i0..i1; sample b's record for input i is
   result[(b - b0) * by_sample + (i - i0) * by_input]. */
static void make_records(const part *one, size by_sample, size by_input, int with_residual,
                         size b0, size b1, size i0, size i1) {
    const problem *p = one->p;
    const splines *s = one->s;
    record *result = one->records;
    size inputs = i1 - i0, at_once = inputs == p->in && !p->per_feature ? b1 - b0 : 1, done = 0;
    size edges = p->per_feature ? s->edges : 0, pieces = p->per_feature ? s->pieces : 0;
    for (size b = b0; b < b1; b++, result += by_sample, done += at_once > 1 ? inputs : 0) {
        const real *x = p->x + b * p->in + i0, *edge = s->edge + i0 * edges;
        const piece *piece_0 = s->piece + i0 * pieces;
        if (done == 0) prepare(one, x, at_once * inputs, i0, with_residual);
        record *out = result;
        for (size i = 0; i < inputs; i++, out += by_input, edge += edges, piece_0 += pieces) {
            size at = one->pieces[done + i];
            at += x[i] >= edge[at + 1];
            const piece *piece = piece_0 + at;
            real t = (x[i] - piece->origin) * piece->inverse;
            if (DEGREE == 1) t += 0 * x[i];     /* an infinity becomes NaN; else 0 * t does it */
            weights value = piece->power[DEGREE];
            UNROLL for (int power = DEGREE - 1; power >= 0; power--)
                value = value * t + piece->power[power];
            out->weight = value;
            out->residual = one->residuals[done + i];
            out->first = piece->first;
        }
        for (size i = 0; i < inputs && p->h != NULL; i++) {
            real h = p->h[b * p->in + i0 + i];
            result[i * by_input].weight *= h, result[i * by_input].residual *= h;
        }
    }
}

/* 3. Loops over records ---------------------------------------------------------------------

   Each keeps `vectors` registers of one tile of outputs for each row it holds. The compiler
   unrolls the loops over rows and vectors, which have constant bounds, and keeps the arrays in
   registers: this is where all the time goes. */

/* Rows of coefficients of one tile: in place, or packed so that they lie close in the cache. */
typedef struct {
    const real *coef, *residual;
    size coef_input, coef_row, residual_input;      /* steps to the next input, and row */
} rows;

INLINE rows next_input(rows w) {
    w.coef += w.coef_input, w.residual += w.residual_input;
    return w;
}

/* y += sum over inputs of the weighted rows, for a few samples at once: they share the residual's
   row, which saves loads. Each input's rows are added up on their own: errors stay small. */
INLINE void forward_samples(int vectors, int samples, int with_residual, real *y, size width,
                            const record *r, size stride, rows w, size inputs, int fresh) {
    vec sum[samples][vectors];
    UNROLL for (int s = 0; s < samples; s++)
        UNROLL for (int v = 0; v < vectors; v++)
            sum[s][v] = (vec){0};
    for (size i = 0; i < inputs; i++, w = next_input(w)) {
        UNROLL for (int s = 0; s < samples; s++) {
            const record *one = &r[s * stride + i];
            const real *row = w.coef + one->first * w.coef_row;
            UNROLL for (int v = 0; v < vectors; v++) {
                vec combined = one->weight[0] * load(row + v * LANES);
                UNROLL for (int j = 1; j < ROWS; j++)
                    combined += one->weight[j] * load(row + j * w.coef_row + v * LANES);
                sum[s][v] += combined;
            }
        }
        if (with_residual)
            UNROLL for (int v = 0; v < vectors; v++) {
                vec row = load(w.residual + v * LANES);
                UNROLL for (int s = 0; s < samples; s++) sum[s][v] += r[s * stride + i].residual * row;
            }
    }
    UNROLL for (int s = 0; s < samples; s++)
        UNROLL for (int v = 0; v < vectors; v++) {
            real *to = y + s * width + v * LANES;
            store(to, fresh ? sum[s][v] : load(to) + sum[s][v]);
        }
}

INLINE void forward_tile(int vectors, int with_residual, real *y, const record *r, size stride,
                         rows w, size samples, size inputs, int fresh) {
    size width = vectors * LANES, b = 0;
    for (; b + SAMPLES <= samples; b += SAMPLES)
        forward_samples(vectors, SAMPLES, with_residual, y + b * width, width, r + b * stride,
                        stride, w, inputs, fresh);
    for (; b < samples; b++)
        forward_samples(vectors, 1, with_residual, y + b * width, width, r + b * stride,
                        stride, w, inputs, fresh);
}

/* Sum of all lanes, by halves down to 16 bytes. */
INLINE real lanes_sum(vec v) {
    typedef real v16 __attribute__((vector_size(16)));
#if BYTES > 16
    typedef real v32 __attribute__((vector_size(32)));
#if BYTES > 32
    union { vec whole; v32 half[2]; } wide = {v};
    v32 middle = wide.half[0] + wide.half[1];
#else
    v32 middle = v;
#endif
    union { v32 whole; v16 half[2]; } narrow = {middle};
    v16 last = narrow.half[0] + narrow.half[1];
#else
    v16 last = v;
#endif
    return SINGLE ? (last[0] + last[2 % (16 / sizeof(real))]) + (last[1] + last[3 % (16 / sizeof(real))])
                  : last[0] + last[1];
}

/* u_i = g . (weighted rows) = weighted (g . row): the products with g first, the weights last. */
INLINE void gradient_tile(int vectors, int with_residual, real *u, size u_sample, const real *g,
                          const record *r, size stride, rows w, size samples, size inputs, int fresh) {
    size width = vectors * LANES;
    for (size b = 0; b < samples; b++, g += width, r += stride, u += u_sample) {
        vec grad[vectors];
        UNROLL for (int v = 0; v < vectors; v++) grad[v] = load(g + v * LANES);
        rows at = w;
        for (size i = 0; i < inputs; i++, at = next_input(at)) {
            const real *row = at.coef + r[i].first * at.coef_row;
            vec total = {0};
            UNROLL for (int j = 0; j < ROWS; j++) {
                vec product = grad[0] * load(row + j * at.coef_row);
                UNROLL for (int v = 1; v < vectors; v++)
                    product += grad[v] * load(row + j * at.coef_row + v * LANES);
                total += r[i].weight[j] * product;
            }
            if (with_residual) {
                vec product = grad[0] * load(at.residual);
                UNROLL for (int v = 1; v < vectors; v++) product += grad[v] * load(at.residual + v * LANES);
                total += r[i].residual * product;
            }
            u[i] = (fresh ? 0 : u[i]) + lanes_sum(total);
        }
    }
}

/* Write or add one row of a tile, of which `valid` columns exist. */
INLINE void put(int vectors, real *to, const vec *row, size valid, int fresh) {
    UNROLL for (int v = 0; v < vectors; v++) {
        size left = valid - v * LANES;
        if (left >= LANES) {
            store(to + v * LANES, fresh ? row[v] : load(to + v * LANES) + row[v]);
        } else {
            real lane[LANES];
            memcpy(lane, &row[v], sizeof lane);
            for (size l = 0; l < left; l++)
                to[v * LANES + l] = lane[l] + (fresh ? 0 : to[v * LANES + l]);
        }
    }
}

/* dW of one input and tile. Samples are visited cell after cell, so that the k+1 rows which a
   cell touches stay in registers; from one cell to the next they roll by one row. `order` holds
   the samples sorted by cell, those with first row m at start[m]..start[m + 1]. */
INLINE void weight_tile(int vectors, int with_residual, real *coef, real *residual, size out,
                        const real *g, const record *r, const int32_t *order, const size *start,
                        size cells, size valid, int fresh) {
    size width = vectors * LANES;
    vec sum[ROWS][vectors], residual_sum[vectors];
    memset(sum, 0, sizeof sum);
    memset(residual_sum, 0, sizeof residual_sum);
    for (size m = 0; m < cells; m++, coef += out) {
        for (size at = start[m]; at < start[m + 1]; at++) {
            const record *one = &r[order[at]];
            const real *grad = g + order[at] * width;
            UNROLL for (int v = 0; v < vectors; v++) {
                vec row = load(grad + v * LANES);
                UNROLL for (int j = 0; j < ROWS; j++) sum[j][v] += one->weight[j] * row;
                if (with_residual) residual_sum[v] += one->residual * row;
            }
        }
        put(vectors, coef, sum[0], valid, fresh);
        UNROLL for (int v = 0; v < vectors; v++) {
            UNROLL for (int j = 0; j < DEGREE; j++) sum[j][v] = sum[j + 1][v];
            sum[DEGREE][v] = (vec){0};
        }
    }
    UNROLL for (int j = 0; j < DEGREE; j++) put(vectors, coef + j * out, sum[j], valid, fresh);
    if (with_residual) put(vectors, residual, residual_sum, valid, fresh);
}

/* One instance of a loop for each width of a tile, with and without the residual. */
#define CASE(v, loop, ...)                                                                        \
    case 2 * v: loop(v, 0, __VA_ARGS__); break;                                                   \
    case 2 * v + 1: loop(v, 1, __VA_ARGS__); break;
#define ANY_WIDTH(vectors, with_residual, loop, ...)                                              \
    switch (2 * (vectors) + ((with_residual) != 0)) {                                             \
        CASE(1, loop, __VA_ARGS__) CASE(2, loop, __VA_ARGS__)                                     \
        CASE(3, loop, __VA_ARGS__) CASE(4, loop, __VA_ARGS__)                                     \
    }

/* 4. Threads -------------------------------------------------------------------------------- */

/* PyTorch's threads stay awake for a while after each of its operations, in case there is more to
   do, and would share their cores with ours. So they are given the parts: a team is the function
   of their OpenMP library that calls f(data) in `count` threads and waits for all. Where none is
   known, threads of our own live for one call, so that nothing is left that a fork could break;
   and after a fork PyTorch's threads are not there any more. */
typedef void (*team)(void (*f)(void *), void *data, unsigned count, unsigned flags);
static team pytorch_team;

static void forget_team(void) { pytorch_team = NULL; }

void use_team(team found) {
    if (pthread_atfork(NULL, NULL, forget_team) == 0) pytorch_team = found;
}

typedef struct {
    part *parts;
    size count, next;
} jobs;

static void take_parts(void *data) {
    jobs *all = data;
    size i;
    while ((i = __atomic_fetch_add(&all->next, 1, __ATOMIC_RELAXED)) < all->count)
        all->parts[i].run(&all->parts[i]);
}

static void *start_part(void *one) {
    ((part *)one)->run(one);
    return NULL;
}

static void run_parts(part *parts, size count) {
    if (count > 1 && pytorch_team != NULL) {
        jobs all = {parts, count, 0};
        pytorch_team(take_parts, &all, (unsigned)count, 0);
        return;
    }
    pthread_t thread[count];
    int started[count];
    for (size i = 1; i < count; i++)
        started[i] = pthread_create(&thread[i], NULL, start_part, &parts[i]) == 0;
    parts[0].run(&parts[0]);
    for (size i = 1; i < count; i++) {
        if (started[i]) pthread_join(thread[i], NULL);
        else parts[i].run(&parts[i]);
    }
}

static size num_rows(const problem *p) { return p->num_knots - DEGREE - 1; }

static char *take(char *base, size *used, size bytes) {     /* aligned to a cache line */
    char *at = base + *used;
    *used += (bytes + 127) / 64 * 64;
    return at;
}

/* Lay out the memory of a part from `base` on; returns its size. */
static size lay_out(part *one, char *base) {
    size used = 0, n = num_rows(one->p), slab = (n + 1) * one->width * (size)sizeof(real);
    one->records = (record *)take(base, &used, BLOCK * GROUP * (size)sizeof(record));
    one->residuals = (real *)take(base, &used, (BLOCK * GROUP + LANES) * (size)sizeof(real));
    one->pieces = (bits *)take(base, &used, (BLOCK * GROUP + LANES) * (size)sizeof(bits));
    one->packed = (real *)take(base, &used, slab > CACHE ? slab : CACHE);
    one->wide = (real *)take(base, &used, BLOCK * one->tiles * one->width * (size)sizeof(real));
    one->order = (int32_t *)take(base, &used, BLOCK * (size)sizeof(int32_t));
    one->start = (size *)take(base, &used, (n + 2) * (size)sizeof(size));
    return used;
}

static void lay_out_splines(splines *s, size count, char *base, size *used) {
    s->piece = (piece *)take(base, used, count * s->pieces * (size)sizeof(piece));
    s->edge = (real *)take(base, used, count * s->edges * (size)sizeof(real));
    s->start = (real *)take(base, used, (count + LANES) * (size)sizeof(real));
    s->inverse = (real *)take(base, used, (count + LANES) * (size)sizeof(real));
}

static size share(size total, size count, size i) { return total * i / count; }

/* Run `run` over the whole problem, cut along samples, inputs or tiles ('b', 'i', 't') where
   there is work for several threads. Returns 0, or 1 if there is no memory. */
static int run_problem(const problem *p, void (*run)(const part *), size most_vectors,
                       const char *cuts) {
    size vectors = (p->out + LANES - 1) / LANES, tiles = (vectors + most_vectors - 1) / most_vectors;
    vectors = (vectors + tiles - 1) / tiles;
    size work = p->batch * p->in * (vectors * LANES * (ROWS + 1) + 4 * LANES);
    size count = work / WORK_PER_THREAD < p->threads ? work / WORK_PER_THREAD : p->threads;
    if (count < 1) count = 1;
    char cut = cuts[0];
    size pieces = cut == 't' ? tiles : cut == 'i' ? p->in : p->batch;
    if (pieces < count || (cut == 't' && pieces % count)) cut = cuts[1];
    pieces = cut == 't' ? tiles : cut == 'i' ? p->in : p->batch;
    count = least(count, pieces < 1 ? 1 : pieces);

    size vectors_of_knots = p->per_feature ? p->in : 1;
    splines s = {.pieces = cells_of(p) + 2, .edges = 2, .even = 1};
    while (s.edges <= s.pieces) s.edges *= 2;
    part whole = {.p = p, .s = &s, .run = run, .b1 = p->batch, .i1 = p->in, .tile1 = tiles,
                  .group = least(GROUP, p->in), .vectors = vectors, .width = vectors * LANES, .tiles = tiles};
    part *parts = malloc(count * sizeof(part));
    size used = 0;
    lay_out_splines(&s, vectors_of_knots, NULL, &used);
    char *memory = malloc(used + count * lay_out(&whole, NULL) + 64);
    if (parts == NULL || memory == NULL) return free(parts), free(memory), 1;

    char *base = (char *)(((uintptr_t)memory + 63) / 64 * 64);
    used = 0;
    lay_out_splines(&s, vectors_of_knots, base, &used);
    for (size i = 0; i < vectors_of_knots; i++) make_pieces(&s, p, i);
    for (size i = 0; i < count; i++) {
        parts[i] = whole;
        used += lay_out(&parts[i], base + used);
        if (cut == 'b') parts[i].b0 = share(p->batch, count, i), parts[i].b1 = share(p->batch, count, i + 1);
        if (cut == 'i') parts[i].i0 = share(p->in, count, i), parts[i].i1 = share(p->in, count, i + 1);
        if (cut == 't') parts[i].tile0 = share(tiles, count, i), parts[i].tile1 = share(tiles, count, i + 1);
    }
    run_parts(parts, count);
    free(memory);
    free(parts);
    return 0;
}

/* 5. The three functions -------------------------------------------------------------------- */

/* Rows of inputs i0..i1 and one tile: packed, with zeros beyond the last output, where the tile
   will be used often or is not full. */
static rows tile_rows(const part *one, size i0, size i1, size tile, size samples) {
    const problem *p = one->p;
    size n = num_rows(p), width = one->width, o0 = tile * width, valid = least(width, p->out - o0);
    rows w = {p->coef + i0 * n * p->out + o0, p->residual ? p->residual + i0 * p->out + o0 : NULL,
              n * p->out, p->out, p->out};
    if (valid == width && (samples < 16 || width == p->out)) return w;
    size slab = (n + 1) * width;
    for (size i = i0; i < i1; i++)
        for (size m = 0; m <= n; m++) {
            if (m == n && p->residual == NULL) continue;
            real *to = one->packed + (i - i0) * slab + m * width;
            memcpy(to, m < n ? p->coef + (i * n + m) * p->out + o0 : p->residual + i * p->out + o0,
                   valid * sizeof(real));
            memset(to + valid, 0, (width - valid) * sizeof(real));
        }
    return (rows){one->packed, one->packed + n * width, slab, width, slab};
}

/* Inputs whose packed rows fit the cache together. */
static size inputs_at_once(const part *one) {
    size slab = (num_rows(one->p) + 1) * one->width * (size)sizeof(real), count = CACHE / slab;
    return count < 1 ? 1 : least(count, one->group);
}

static void forward_part(const part *one) {
    const problem *p = one->p;
    size width = one->width, step = inputs_at_once(one), in_place = one->tiles == 1 && width == p->out;
    for (size b = one->b0; b < one->b1; b += BLOCK) {
        size samples = least(BLOCK, one->b1 - b);
        for (size group = 0; group < p->in; group += one->group) {
            size end = least(group + one->group, p->in);
            make_records(one, one->group, 1, p->residual != NULL, b, b + samples, group, end);
            for (size tile = one->tile0; tile < one->tile1; tile++) {
                real *y = in_place ? p->result + b * width : one->wide + tile * BLOCK * width;
                for (size i = group; i < end; i += step) {
                    size inputs = least(step, end - i);
                    rows w = tile_rows(one, i, i + inputs, tile, samples);
                    ANY_WIDTH(one->vectors, p->residual, forward_tile, y, one->records + i - group,
                              one->group, w, samples, inputs, i == 0)
                }
            }
        }
        for (size tile = one->tile0; tile < one->tile1 && !in_place; tile++)
            for (size s = 0; s < samples; s++)
                memcpy(p->result + (b + s) * p->out + tile * width,
                       one->wide + (tile * BLOCK + s) * width,
                       least(width, p->out - tile * width) * sizeof(real));
    }
}

/* Incoming gradients of a block of samples, tile by tile, with zeros beyond the last output. */
static const real *tiled_gradients(const part *one, size b, size samples) {
    const problem *p = one->p;
    size width = one->width;
    if (one->tiles == 1 && width == p->out) return p->grad + b * width;
    for (size tile = one->tile0; tile < one->tile1; tile++)
        for (size s = 0; s < samples; s++) {
            size valid = least(width, p->out - tile * width);
            real *to = one->wide + (tile * BLOCK + s) * width;
            memcpy(to, p->grad + (b + s) * p->out + tile * width, valid * sizeof(real));
            memset(to + valid, 0, (width - valid) * sizeof(real));
        }
    return one->wide;
}

static void input_gradient_part(const part *one) {
    const problem *p = one->p;
    size step = inputs_at_once(one);
    for (size b = one->b0; b < one->b1; b += BLOCK) {
        size samples = least(BLOCK, one->b1 - b);
        const real *grad = tiled_gradients(one, b, samples);
        for (size group = one->i0; group < one->i1; group += one->group) {
            size end = least(group + one->group, one->i1);
            make_records(one, one->group, 1, p->residual != NULL, b, b + samples, group, end);
            for (size tile = 0; tile < one->tiles; tile++)
                for (size i = group; i < end; i += step) {
                    size inputs = least(step, end - i);
                    rows w = tile_rows(one, i, i + inputs, tile, samples);
                    ANY_WIDTH(one->vectors, p->residual, gradient_tile, p->result + b * p->in + i,
                              p->in, grad + tile * BLOCK * one->width, one->records + i - group,
                              one->group, w, samples, inputs, tile == 0)
                }
        }
    }
}

/* Counting sort: samples in the order of their first rows. */
static void sort_by_cell(const part *one, const record *r, size samples, size cells) {
    size *start = one->start;
    memset(start, 0, (cells + 2) * sizeof(size));
    for (size s = 0; s < samples; s++) start[r[s].first + 2]++;
    for (size m = 2; m < cells + 1; m++) start[m + 1] += start[m];
    for (size s = 0; s < samples; s++) one->order[start[r[s].first + 1]++] = (int32_t)s;
}

static void weight_gradient_part(const part *one) {
    const problem *p = one->p;
    size n = num_rows(p), cells = n - DEGREE, width = one->width;
    int with_residual = p->residual_result != NULL;
    for (size b = 0; b < p->batch; b += BLOCK) {
        size samples = least(BLOCK, p->batch - b);
        const real *grad = tiled_gradients(one, b, samples);
        for (size group = one->i0; group < one->i1; group += one->group) {
            size end = least(group + one->group, one->i1);
            make_records(one, 1, BLOCK, with_residual, b, b + samples, group, end);
            for (size i = group; i < end; i++) {
                const record *r = one->records + (i - group) * BLOCK;
                sort_by_cell(one, r, samples, cells);
                for (size tile = one->tile0; tile < one->tile1; tile++) {
                    size o0 = tile * width;
                    real *residual = with_residual ? p->residual_result + i * p->out + o0 : NULL;
                    ANY_WIDTH(one->vectors, with_residual, weight_tile,
                                 p->result + i * n * p->out + o0, residual, p->out,
                                 grad + tile * BLOCK * width, r, one->order, one->start, cells,
                                 least(width, p->out - o0), b == 0)
                }
            }
        }
    }
    /* A dense matrix of basis values would carry a NaN or an infinity of x to all rows. */
    for (size i = one->i0; i < one->i1; i++) {
        real sum = 0;
        for (size b = 0; b < p->batch; b++) sum += 0 * p->x[b * p->in + i];
        for (size m = 0; m < n && sum != 0; m++)
            for (size o = one->tile0 * width; o < least(one->tile1 * width, p->out); o++)
                p->result[(i * n + m) * p->out + o] = sum;
    }
}

int forward(const real *x, const real *coef, const real *residual, const real *h, const real *knots,
            real *y, size batch, size in, size out, size num_knots, int per_feature,
            int extrapolate, int order, int threads) {
    problem p = {batch, in, out, num_knots, per_feature, extrapolate, order, threads,
                 x, coef, residual, knots, h, NULL, y, NULL};
    return run_problem(&p, forward_part, MAX_VECTORS, "tb");
}

int input_gradient(const real *x, const real *coef, const real *residual, const real *grad,
                   const real *knots, real *u, size batch, size in, size out, size num_knots,
                   int per_feature, int extrapolate, int order, int threads) {
    problem p = {batch, in, out, num_knots, per_feature, extrapolate, order, threads,
                 x, coef, residual, knots, NULL, grad, u, NULL};
    return run_problem(&p, input_gradient_part, MAX_VECTORS, "ib");
}

/* Fresh memory comes in pages, each of which costs a fault at its first touch: where there is a lot
   of it, ask for large pages. */
static void large_pages(void *memory, size bytes) {
#ifdef MADV_HUGEPAGE
    uintptr_t page = (uintptr_t)2 << 20, begin = ((uintptr_t)memory + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)memory + bytes) / page * page;
    if (begin < end) madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#endif
}

int weight_gradient(const real *x, const real *grad, const real *h, const real *knots,
                    real *coef_grad, real *residual_grad, size batch, size in, size out,
                    size num_knots, int per_feature, int extrapolate, int order, int threads) {
    problem p = {batch, in, out, num_knots, per_feature, extrapolate, order, threads,
                 x, NULL, NULL, knots, h, grad, coef_grad, residual_grad};
    large_pages(coef_grad, in * num_rows(&p) * out * (size)sizeof(real));
    return run_problem(&p, weight_gradient_part, WEIGHT_VECTORS, "it");
}
