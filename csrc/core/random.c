#include "core/random.h"

#include <math.h>

static mt_rng default_rng;

mt_rng *mt_default_rng(void) { return &default_rng; }

void mt_rng_seed(mt_rng *rng, uint64_t seed) {
  rng->seed = seed;
  rng->counter = 0;
}

void mt_philox(uint64_t seed, uint64_t counter, uint32_t out[4]) {
  uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32), c2 = 0, c3 = 0;
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int round = 0; round < 10; round++) {
    const uint64_t p0 = (uint64_t)0xD2511F53u * c0;
    const uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c1 = (uint32_t)p1;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c3 = (uint32_t)p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

mt_rng *mt_rng_or_default(mt_rng *rng) { return rng ? rng : &default_rng; }

static float uniform_from_bits(uint32_t bits) { return (float)(bits >> 8) * 0x1p-24f; }

/* Box-Muller. 1 - u is in (0,1], so the logarithm is finite. */
static void normals_from_bits(const uint32_t bits[4], float out[4]) {
  for (int i = 0; i < 4; i += 2) {
    const float radius = sqrtf(-2.0f * logf(1.0f - uniform_from_bits(bits[i])));
    const float angle = 6.28318530717958647692f * uniform_from_bits(bits[i + 1]);
    out[i] = radius * cosf(angle);
    out[i + 1] = radius * sinf(angle);
  }
}

static void next_block(mt_rng *rng, uint32_t out[4]) {
  rng = mt_rng_or_default(rng);
  mt_philox(rng->seed, rng->counter++, out);
}

double mt_rng_uniform(mt_rng *rng) {
  uint32_t bits[4];
  next_block(rng, bits);
  return uniform_from_bits(bits[0]);
}

double mt_rng_normal(mt_rng *rng) {
  uint32_t bits[4];
  float normals[4];
  next_block(rng, bits);
  normals_from_bits(bits, normals);
  return normals[0];
}

uint64_t mt_rng_below(mt_rng *rng, uint64_t bound) {
  const uint64_t unfair = -bound % bound; /* values below this would make small results likelier */
  for (;;) {
    uint32_t bits[4];
    next_block(rng, bits);
    const uint64_t value = (uint64_t)bits[0] << 32 | bits[1];
    if (value >= unfair) return value % bound;
  }
}

void mt_fill_permutation(int32_t *out, int64_t n, mt_rng *rng) {
  for (int64_t i = 0; i < n; i++) out[i] = (int32_t)i;
  for (int64_t i = n - 1; i > 0; i--) {
    const int64_t j = (int64_t)mt_rng_below(rng, (uint64_t)i + 1);
    const int32_t swap = out[i];
    out[i] = out[j];
    out[j] = swap;
  }
}
