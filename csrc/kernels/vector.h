/* Helpers for kernel files: vectors that end beyond the last channel, and small vector functions.
 * Included by kernel files only (needs MT_ISA). */
#ifndef MT_KERNELS_VECTOR_H
#define MT_KERNELS_VECTOR_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/kernels.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define MT_LINE 64 /* bytes of the cache */

#define MT_INLINE static inline __attribute__((always_inline, unused))

typedef int32_t mt_vi __attribute__((vector_size(MT_VECTOR_BYTES)));

MT_INLINE mt_vf mt_load(const float *p) { return *(const mt_vfu *)p; }
MT_INLINE void mt_store(float *p, mt_vf v) { *(mt_vfu *)p = v; }
MT_INLINE mt_vf mt_splat(float x) { return x - (mt_vf){0}; }

/* MT_VF bytes as floats. Of its own vectors' conversion from bytes the compiler makes scalar code. */
MT_INLINE mt_vf mt_load_bytes(const uint8_t *p) {
#if MT_VECTOR_BYTES == 64
  return (mt_vf)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
#elif MT_VECTOR_BYTES == 32
  return (mt_vf)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
#else
  mt_vf v;
  for (int i = 0; i < MT_VF; i++) v[i] = (float)p[i];
  return v;
#endif
}

/* Calls for memory: the processor alone fetches a long row at half the speed. Into the second-level cache, because much
 * of the first one is taken up with what is written. */
#define MT_AHEAD_FLOATS 2048
MT_INLINE void mt_fetch(const float *p) { __builtin_prefetch(p, 0, 2); }
MT_INLINE void mt_fetch_ahead(const float *p) { mt_fetch(p + MT_AHEAD_FLOATS); }

/* The first n floats, 1 <= n <= MT_VF; the lanes beyond are zero on loading and not touched on storing. */
#if MT_VECTOR_BYTES == 64
MT_INLINE __mmask16 mt_lanes(int n) { return (__mmask16)(0xffffu >> (16 - n)); }
MT_INLINE mt_vf mt_load_n(const float *p, int n) { return (mt_vf)_mm512_maskz_loadu_ps(mt_lanes(n), p); }
MT_INLINE void mt_store_n(float *p, mt_vf v, int n) { _mm512_mask_storeu_ps(p, mt_lanes(n), (__m512)v); }
#elif MT_VECTOR_BYTES == 32
MT_INLINE __m256i mt_lanes(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
MT_INLINE mt_vf mt_load_n(const float *p, int n) { return (mt_vf)_mm256_maskload_ps(p, mt_lanes(n)); }
MT_INLINE void mt_store_n(float *p, mt_vf v, int n) { _mm256_maskstore_ps(p, mt_lanes(n), (__m256)v); }
#else
MT_INLINE mt_vf mt_load_n(const float *p, int n) {
  mt_vf v = {0};
  for (int i = 0; i < MT_VF && i < n; i++) v[i] = p[i];
  return v;
}
MT_INLINE void mt_store_n(float *p, mt_vf v, int n) {
  for (int i = 0; i < MT_VF && i < n; i++) p[i] = v[i];
}
#endif

/* Channels [c, c + valid) of the vector that starts at c; whole vectors take the unmasked path after inlining. */
MT_INLINE mt_vf mt_load_lanes(const float *p, int valid, bool whole) {
  return whole ? mt_load(p) : mt_load_n(p, valid);
}
MT_INLINE void mt_store_lanes(float *p, mt_vf v, int valid, bool whole) {
  if (whole)
    mt_store(p, v);
  else
    mt_store_n(p, v, valid);
}

/* Calls body(c, valid, whole) for each vector of channels; body must be inlinable with `whole` constant. */
#define MT_FOR_CHANNEL_VECTORS(channels, ...)     \
  do {                                            \
    int64_t c = 0;                                \
    for (; c + MT_VF <= (channels); c += MT_VF) { \
      const bool whole = true;                    \
      const int valid = MT_VF;                    \
      __VA_ARGS__;                                \
    }                                             \
    if (c < (channels)) {                         \
      const bool whole = false;                   \
      const int valid = (int)((channels)-c);      \
      __VA_ARGS__;                                \
    }                                             \
  } while (0)

/* A NaN compares false, so relu(NaN) is NaN and its gradient passes, as in PyTorch.
 * mt_relu_mask: g where the ReLU's output (or input) y let it through, else 0. */
#if MT_VECTOR_BYTES == 64
MT_INLINE mt_vf mt_relu(mt_vf v) { return (mt_vf)_mm512_max_ps(_mm512_setzero_ps(), (__m512)v); }
MT_INLINE mt_vf mt_relu_mask(mt_vf y, mt_vf g) {
  const __mmask16 passes = _mm512_cmp_ps_mask((__m512)y, _mm512_setzero_ps(), _CMP_NLE_UQ);
  return (mt_vf)_mm512_maskz_mov_ps(passes, (__m512)g);
}
#else
MT_INLINE mt_vf mt_relu(mt_vf v) { return (mt_vf)((mt_vi)v & ~(mt_vi)(v < (mt_vf){0})); }
MT_INLINE mt_vf mt_relu_mask(mt_vf y, mt_vf g) { return (mt_vf)((mt_vi)g & ~(mt_vi)(y <= (mt_vf){0})); }
#endif

/* Between low and high; NaN stays NaN. */
#if MT_VECTOR_BYTES == 64
MT_INLINE mt_vf mt_clamp(mt_vf v, mt_vf low, mt_vf high) {
  return (mt_vf)_mm512_min_ps((__m512)high, _mm512_max_ps((__m512)low, (__m512)v));
}
#elif MT_VECTOR_BYTES == 32
MT_INLINE mt_vf mt_clamp(mt_vf v, mt_vf low, mt_vf high) {
  return (mt_vf)_mm256_min_ps((__m256)high, _mm256_max_ps((__m256)low, (__m256)v));
}
#else
MT_INLINE mt_vf mt_clamp(mt_vf v, mt_vf low, mt_vf high) {
  const mt_vi below = v<low, above = v> high;
  return (mt_vf)(((mt_vi)low & below) | ((mt_vi)high & above) | ((mt_vi)v & ~(below | above)));
}
#endif

#endif
