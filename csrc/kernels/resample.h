/* Antialiased resizing of uint8 rows (image/resample.h). */
#ifndef MT_KERNELS_RESAMPLE_H
#define MT_KERNELS_RESAMPLE_H

#include <stdint.h>

/* blend_rows: sum[i] = over k < count of weights[k] rows[k * stride + i], i < n.
 *
 * narrow_row: pixel x of `to` is, rounded, the sum over k < counts[x] of weights[x * most + k] times pixel firsts[x] +
 * k of `row`. 3 floats behind the row and, in `wide`, behind the result's values are touched, but mean nothing. Sums
 * are within 0..255.5. */
#define MT_RESAMPLE_KERNELS(K)                                                                                        \
  K(void, blend_rows,                                                                                                 \
    (float *sum, const uint8_t *rows, int64_t stride, const float *weights, int64_t count, int64_t n))                \
  K(void, narrow_row,                                                                                                 \
    (uint8_t * to, float *wide, const float *row, const int64_t *firsts, const int64_t *counts, const float *weights, \
     int64_t most, int64_t width, int64_t channels))

#endif
