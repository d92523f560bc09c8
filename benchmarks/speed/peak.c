/* How many multiply-adds a core can do: independent chains that never leave the registers. */

#if SINGLE
typedef float real;
#else
typedef double real;
#endif

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
typedef real vec __attribute__((vector_size(BYTES)));

/* Twelve chains: more than latency times throughput of any processor of today. */
#define EACH(do) do(a) do(b) do(c) do(d) do(e) do(f) do(g) do(h) do(i) do(j) do(k) do(l)
#define CHAINS 12
#if defined(__x86_64__) || defined(__i386__)
#define VECTOR "+x"
#else
#define VECTOR "+w" /* ARM */
#endif
#define START(v) vec v = (vec){0} + (real)sizeof(#v);
#define STEP(v) v = v * factors + factors; __asm__ volatile("" : VECTOR(v)); /* no round is folded */
#define ADD(v) sum += v;

/* Runs `rounds` times CHAINS multiply-adds of vectors; returns how many numbers a round takes. */
int multiply_adds(long rounds, real factor, real *out) {
    EACH(START)
    vec factors = (vec){0} + factor, sum = {0};
    for (long r = 0; r < rounds; r++) { EACH(STEP) }
    EACH(ADD)
    *out = sum[0];
    return BYTES / (int)sizeof(real) * CHAINS;
}
