/* Down the columns first: that pass is long rows without gaps, and leaves only the result's rows to be narrowed. */
#include "kernels/resample.h"

#include "kernels/vector.h"

#define BLOCK 4 /* vectors whose sums stay in registers while the rows go by */

typedef float pixel __attribute__((vector_size(16), aligned(4), may_alias));
typedef float pair __attribute__((vector_size(32)));
typedef float unaligned_pair __attribute__((vector_size(32), aligned(4), may_alias));

/* The values in another order; clang has only the first of these, GCC has it from 12 on. */
#if __has_builtin(__builtin_shufflevector)
#define REORDERED(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#else
typedef int32_t pair_index __attribute__((vector_size(32)));
#define REORDERED(v, ...) __builtin_shuffle(v, (pair_index){__VA_ARGS__})
#endif

MT_INLINE void blend_block(float *sum, const uint8_t *rows, int64_t stride, const float *weights, int64_t count,
                           int vectors) {
  mt_vf block[BLOCK] = {{0}};
  for (int64_t k = 0; k < count; k++, rows += stride) {
#pragma GCC unroll 4
    for (int j = 0; j < vectors; j++) block[j] += weights[k] * mt_load_bytes(rows + j * MT_VF);
  }
#pragma GCC unroll 4
  for (int j = 0; j < vectors; j++) mt_store(sum + j * MT_VF, block[j]);
}

void MT_KERNEL(blend_rows)(float *sum, const uint8_t *rows, int64_t stride, const float *weights, int64_t count,
                           int64_t n) {
  int64_t i = 0;
  for (; i + BLOCK * MT_VF <= n; i += BLOCK * MT_VF) blend_block(sum + i, rows + i, stride, weights, count, BLOCK);
  for (; i + MT_VF <= n; i += MT_VF) blend_block(sum + i, rows + i, stride, weights, count, 1);
  if (i < n && n >= MT_VF) blend_block(sum + n - MT_VF, rows + n - MT_VF, stride, weights, count, 1);
  for (; i < n && n < MT_VF; i++) {
    sum[i] = 0.0f;
    for (int64_t k = 0; k < count; k++) sum[i] += weights[k] * (float)rows[k * stride + i];
  }
}

/* Two neighbours at a time: of eight values the first `channels` are one pixel's and the next as many the other's. The
 * result's last value may be the next pixel's, written over by it. */
MT_INLINE void sum_pairs(float *wide, const float *row, const int64_t *firsts, const float *weights, int64_t pairs,
                         int64_t width, int channels) {
  for (int64_t x = 0; x < width; x++, wide += channels) {
    const float *from = row + firsts[x] * channels;
    pair sum = {0};
#pragma GCC unroll 4
    for (int64_t k = 0; k < pairs; k++, weights += MT_RESAMPLE_PAIR)
      sum += *(const unaligned_pair *)weights * *(const unaligned_pair *)(from + 2 * channels * k);
    sum += channels == 3 ? REORDERED(sum, 3, 4, 5, 6, 0, 1, 2, 7) : REORDERED(sum, 4, 5, 6, 7, 0, 1, 2, 3);
    *(pixel *)wide = (pixel){sum[0], sum[1], sum[2], sum[3]};
  }
}

/* Loops of a known length: photos are narrowed by up to three and a half times. */
MT_INLINE void sum_channels(float *wide, const float *row, const int64_t *firsts, const float *weights, int64_t pairs,
                            int64_t width, int channels) {
  if (pairs == 1)
    sum_pairs(wide, row, firsts, weights, 1, width, channels);
  else if (pairs == 2)
    sum_pairs(wide, row, firsts, weights, 2, width, channels);
  else if (pairs == 3)
    sum_pairs(wide, row, firsts, weights, 3, width, channels);
  else if (pairs == 4)
    sum_pairs(wide, row, firsts, weights, 4, width, channels);
  else
    sum_pairs(wide, row, firsts, weights, pairs, width, channels);
}

static void sum_values(float *wide, const float *row, const int64_t *firsts, const float *weights, int64_t taps,
                       int64_t width, int64_t channels) {
  for (int64_t x = 0; x < width; x++, weights += taps) {
    for (int64_t c = 0; c < channels; c++) {
      const float *from = row + firsts[x] * channels + c;
      float sum = 0.0f;
      for (int64_t k = 0; k < taps; k++) sum += weights[k] * from[k * channels];
      *wide++ = sum;
    }
  }
}

void MT_KERNEL(narrow_row)(uint8_t *to, float *wide, const float *row, const int64_t *firsts, const float *weights,
                           int64_t taps, int64_t width, int64_t channels) {
  if (channels == 3)
    sum_channels(wide, row, firsts, weights, taps / 2, width, 3);
  else if (channels == 4)
    sum_channels(wide, row, firsts, weights, taps / 2, width, 4);
  else
    sum_values(wide, row, firsts, weights, taps, width, channels);
#pragma GCC ivdep
  for (int64_t i = 0; i < width * channels; i++) to[i] = (uint8_t)(int32_t)(wide[i] + 0.5f);
}
