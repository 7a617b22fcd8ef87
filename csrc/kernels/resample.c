/* Down the columns first: that pass is long rows without gaps, and leaves only the result's rows to be narrowed. */
#include "kernels/vector.h"

typedef float pixel __attribute__((vector_size(16)));
typedef float unaligned_pixel __attribute__((vector_size(16), aligned(4), may_alias));

/* Loops that the compiler turns into vector code; of its own vectors' conversions from bytes it makes scalar code. */
void MT_KERNEL(blend_rows)(float *sum, const uint8_t *rows, int64_t stride, const float *weights, int64_t count,
                           int64_t n) {
  int64_t k = count % 2;
  const float first = weights[0];
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) sum[i] = k ? first * (float)rows[i] : 0.0f;
  for (; k < count; k += 2) {
    const uint8_t *upper = rows + k * stride, *lower = upper + stride;
    const float upper_weight = weights[k], lower_weight = weights[k + 1];
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++) sum[i] += upper_weight * (float)upper[i] + lower_weight * (float)lower[i];
  }
}

/* Three or four channels: a pixel is a vector, whose last value may be the next pixel's, written over by it. */
static void sum_pixels(float *wide, const float *row, const int64_t *firsts, const int64_t *counts,
                       const float *weights, int64_t most, int64_t width, int64_t channels) {
  for (int64_t x = 0; x < width; x++, wide += channels, weights += most) {
    const float *from = row + firsts[x] * channels;
    pixel sum = {0};
    for (int64_t k = 0; k < counts[x]; k++) sum += weights[k] * *(const unaligned_pixel *)(from + k * channels);
    *(unaligned_pixel *)wide = sum;
  }
}

static void sum_values(float *wide, const float *row, const int64_t *firsts, const int64_t *counts,
                       const float *weights, int64_t most, int64_t width, int64_t channels) {
  for (int64_t x = 0; x < width; x++, weights += most) {
    for (int64_t c = 0; c < channels; c++) {
      const float *from = row + firsts[x] * channels + c;
      float sum = 0.0f;
      for (int64_t k = 0; k < counts[x]; k++) sum += weights[k] * from[k * channels];
      *wide++ = sum;
    }
  }
}

void MT_KERNEL(narrow_row)(uint8_t *to, float *wide, const float *row, const int64_t *firsts, const int64_t *counts,
                           const float *weights, int64_t most, int64_t width, int64_t channels) {
  if (channels == 3 || channels == 4)
    sum_pixels(wide, row, firsts, counts, weights, most, width, channels);
  else
    sum_values(wide, row, firsts, counts, weights, most, width, channels);
#pragma GCC ivdep
  for (int64_t i = 0; i < width * channels; i++) to[i] = (uint8_t)(int32_t)(wide[i] + 0.5f);
}
