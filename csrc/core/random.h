/* Random numbers from one counter-based generator: Philox4x32-10 (Salmon et al., SC 2011).
 *
 * The value number i of a stream depends on (seed, counter + i) only, never on the thread that
 * draws it, so the same seed gives the same bits at every thread count. */
#ifndef MT_CORE_RANDOM_H
#define MT_CORE_RANDOM_H

#include <stdint.h>

typedef struct {
  uint64_t seed;
  uint64_t counter; /* blocks of four 32-bit values drawn so far */
} mt_rng;

/* The generator behind mt.manual_seed; functions that take an mt_rng * accept NULL for it. */
mt_rng *mt_default_rng(void);
mt_rng *mt_rng_or_default(mt_rng *rng);

void mt_rng_seed(mt_rng *rng, uint64_t seed);

/* Block `counter` of the stream `seed`: pure, for code that numbers its own draws (augmentation: seed
 * from the sample and the epoch). */
void mt_philox(uint64_t seed, uint64_t counter, uint32_t out[4]);

/* Single draws. Uniform in [0,1) with 24 bits; integers in [0, bound) without modulo bias. */
double mt_rng_uniform(mt_rng *rng);
double mt_rng_normal(mt_rng *rng);
uint64_t mt_rng_below(mt_rng *rng, uint64_t bound);

/* A permutation of 0..n-1 (Fisher-Yates) written as int32. */
void mt_fill_permutation(int32_t *out, int64_t n, mt_rng *rng);

#endif
