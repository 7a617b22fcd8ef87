/* A lane is a block. Box-Muller's logarithm, sine and cosine are glibc's logf, sinf and cosf (ARM's optimized
 * routines), operation by operation: there are only 2^24 arguments, for all of which every instruction set gives the
 * bits of the one-by-one definition in core/random.c (spec/core/random_spec.lua compares them). */
#include "kernels/random.h"

#include <string.h>

#include "kernels/math.h"

typedef struct {
  mt_vu word[4];
} blocks;

/* ---- Philox ---- */

/* The halves of the 64-bit products. */
#if MT_VECTOR_BYTES == 64
MT_INLINE void multiply(mt_vu a, uint32_t factor, mt_vu *high, mt_vu *low) {
  const __m512i f = _mm512_set1_epi32((int)factor), odd = _mm512_mul_epu32(_mm512_srli_epi64((__m512i)a, 32), f);
  const __m512i even = _mm512_mul_epu32((__m512i)a, f);
  *low = (mt_vu)_mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
  *high = (mt_vu)_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
}
#elif MT_VECTOR_BYTES == 32
MT_INLINE void multiply(mt_vu a, uint32_t factor, mt_vu *high, mt_vu *low) {
  const __m256i f = _mm256_set1_epi32((int)factor), odd = _mm256_mul_epu32(_mm256_srli_epi64((__m256i)a, 32), f);
  const __m256i even = _mm256_mul_epu32((__m256i)a, f);
  *low = (mt_vu)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
  *high = (mt_vu)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
}
#else
MT_INLINE void multiply(mt_vu a, uint32_t factor, mt_vu *high, mt_vu *low) {
  for (int i = 0; i < MT_VF; i++) {
    const uint64_t product = (uint64_t)a[i] * factor;
    (*high)[i] = (uint32_t)(product >> 32);
    (*low)[i] = (uint32_t)product;
  }
}
#endif

MT_INLINE blocks philox(uint64_t seed, uint64_t counter) {
  mt_vu c0, c1, c2 = {0}, c3 = {0};
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int i = 0; i < MT_VF; i++) {
    c0[i] = (uint32_t)(counter + (uint64_t)i);
    c1[i] = (uint32_t)((counter + (uint64_t)i) >> 32);
  }
  for (int round = 0; round < 10; round++) {
    mt_vu high0, low0, high1, low1;
    multiply(c0, 0xD2511F53u, &high0, &low0);
    multiply(c2, 0xCD9E8D57u, &high1, &low1);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return (blocks){{c0, c1, c2, c3}};
}

/* The first n blocks, one after the other. */
MT_INLINE void store_blocks(void *out, const blocks *b, int n) {
  uint32_t words[4][MT_VF], ordered[4 * MT_VF];
  memcpy(words, b, sizeof words);
  for (int i = 0; i < MT_VF; i++)
    for (int k = 0; k < 4; k++) ordered[4 * i + k] = words[k][i];
  memcpy(out, ordered, (size_t)n * 4 * sizeof(uint32_t));
}

/* ---- uniform and normal numbers ---- */

MT_INLINE mt_vf uniform(mt_vu bits) { return __builtin_convertvector((mt_vi)(bits >> 8), mt_vf) * 0x1p-24f; }

static const double inverse[16] = {
    0x1.661ec79f8f3bep+0, 0x1.571ed4aaf883dp+0, 0x1.49539f0f010bp+0,  0x1.3c995b0b80385p+0, 0x1.30d190c8864a5p+0,
    0x1.25e227b0b8eap+0,  0x1.1bb4a4a1a343fp+0, 0x1.12358f08ae5bap+0, 0x1.0953f419900a7p+0, 0x1p+0,
    0x1.e608cfd9a47acp-1, 0x1.ca4b31f026aap-1,  0x1.b2036576afce6p-1, 0x1.9c2d163a1aa2dp-1, 0x1.886e6037841edp-1,
    0x1.767dcf5534862p-1};
static const double logarithm[16] = {
    -0x1.57bf7808caadep-2, -0x1.2bef0a7c06ddbp-2, -0x1.01eae7f513a67p-2, -0x1.b31d8a68224e9p-3, -0x1.6574f0ac07758p-3,
    -0x1.1aa2bc79c81p-3,   -0x1.a4e76ce8c0e5ep-4, -0x1.1973c5a611cccp-4, -0x1.252f438e10c1ep-5, 0x0p+0,
    0x1.aa5aa5df25984p-5,  0x1.c5e53aa362eb4p-4,  0x1.526e57720db08p-3,  0x1.bc2860d22477p-3,   0x1.1058bc8a07ee1p-2,
    0x1.4043057b6ee09p-2};

#if MT_VECTOR_BYTES == 64
#define LOOK_UP(table, index, half) \
  ((mt_vd)_mm512_i32gather_pd(_mm512_extracti32x8_epi32((__m512i)(index), half), table, 8))
#elif MT_VECTOR_BYTES == 32
#define LOOK_UP(table, index, half) \
  ((mt_vd)_mm256_i32gather_pd(table, _mm256_extracti128_si256((__m256i)(index), half), 8))
#else
#define LOOK_UP(table, index, half) ((mt_vd){(table)[(index)[2 * (half)]], (table)[(index)[2 * (half) + 1]]})
#endif

MT_INLINE mt_vd log_of(mt_vd z, mt_vd k, mt_vd invc, mt_vd logc) {
  const mt_vd r = z * invc - 1.0, y0 = logc + k * 0x1.62e42fefa39efp-1, r2 = r * r;
  const mt_vd y = -0x1.00ea348b88334p-2 * r2 + (0x1.5575b0be00b6ap-2 * r + -0x1.ffffef20a4123p-2);
  return y * r2 + (y0 + r);
}

/* Of numbers in (0, 1]. */
MT_INLINE mt_vf log_float(mt_vf x) {
  const mt_vi shifted = (mt_vi)x - 0x3f330000, index = (shifted >> 19) & 15, scale = shifted & (int32_t)0xff800000;
  const mt_wide z = mt_widen((mt_vf)((mt_vi)x - scale)), k = mt_widen(__builtin_convertvector(shifted >> 23, mt_vf));
  return mt_narrow((mt_wide){log_of(z.low, k.low, LOOK_UP(inverse, index, 0), LOOK_UP(logarithm, index, 0)),
                             log_of(z.high, k.high, LOOK_UP(inverse, index, 1), LOOK_UP(logarithm, index, 1))});
}

MT_INLINE mt_vd sine_polynomial(mt_vd x, mt_vd x2) {
  const mt_vd x3 = x * x2, s1 = 0x1.1107605230bc4p-7 + x2 * -0x1.994eb3774cf24p-13, x7 = x3 * x2;
  return (x + x3 * -0x1.555545995a603p-3) + x7 * s1;
}

MT_INLINE mt_vd cosine_polynomial(mt_vd x2) {
  const mt_vd x4 = x2 * x2, c2 = -0x1.6c087e89a359dp-10 + x2 * 0x1.99343027bf8c3p-16;
  const mt_vd c1 = 1.0 + x2 * -0x1.ffffffd0c621cp-2, x6 = x4 * x2;
  return (c1 + x4 * 0x1.55553e1068f19p-5) + x6 * c2;
}

#define ROUNDER 0x1.8p52
/* Of angles from 0 to 2 pi: x = n pi / 2 + r. */
MT_INLINE void sine_and_cosine(mt_vf angle, mt_vf *sine, mt_vf *cosine) {
  const mt_wide x = mt_widen(angle);
  const mt_wide n = {(x.low * 0x1.45F306DC9C883p-1 + ROUNDER) - ROUNDER,
                     (x.high * 0x1.45F306DC9C883p-1 + ROUNDER) - ROUNDER};
  const mt_vd low = x.low - n.low * 0x1.921FB54442D18p0, high = x.high - n.high * 0x1.921FB54442D18p0;
  const mt_vd low2 = low * low, high2 = high * high;
  const mt_vf s = mt_narrow((mt_wide){sine_polynomial(low, low2), sine_polynomial(high, high2)});
  const mt_vf c = mt_narrow((mt_wide){cosine_polynomial(low2), cosine_polynomial(high2)});
  const mt_vi quadrant = __builtin_convertvector(mt_narrow(n), mt_vi), odd = (quadrant & 1) != 0;
  *sine = (mt_vf)((mt_vi)mt_select(odd, c, s) ^ mt_shifted_left(quadrant & 2, 30));
  *cosine = (mt_vf)((mt_vi)mt_select(odd, s, c) ^ mt_shifted_left((quadrant + 1) & 2, 30));
}

/* Box-Muller. 1 - u is in (0, 1], so the logarithm is finite. */
MT_INLINE void normal_pair(mt_vu first, mt_vu second, mt_vf *a, mt_vf *b) {
  const mt_vf radius = mt_sqrt(-2.0f * log_float(1.0f - uniform(first)));
  mt_vf sine, cosine;
  sine_and_cosine(6.28318530717958647692f * uniform(second), &sine, &cosine);
  *a = radius * cosine;
  *b = radius * sine;
}

#define FOR_BLOCKS(...)                                                             \
  for (int64_t at = 0; at < count; at += MT_VF) {                                   \
    blocks b = philox(seed, counter + (uint64_t)at);                                \
    __VA_ARGS__;                                                                    \
    store_blocks(out + 4 * at, &b, count - at < MT_VF ? (int)(count - at) : MT_VF); \
  }

void MT_KERNEL(random_bits)(uint32_t *out, int64_t count, uint64_t seed, uint64_t counter) { FOR_BLOCKS() }

void MT_KERNEL(random_uniform)(float *out, int64_t count, uint64_t seed, uint64_t counter) {
  FOR_BLOCKS({
    for (int k = 0; k < 4; k++) b.word[k] = (mt_vu)uniform(b.word[k]);
  })
}

void MT_KERNEL(random_normal)(float *out, int64_t count, uint64_t seed, uint64_t counter) {
  FOR_BLOCKS({
    mt_vf n[4];
    normal_pair(b.word[0], b.word[1], &n[0], &n[1]);
    normal_pair(b.word[2], b.word[3], &n[2], &n[3]);
    for (int k = 0; k < 4; k++) b.word[k] = (mt_vu)n[k];
  })
}
