/* Antialiased resizing of uint8 rows (image/resample.h). */
#ifndef MT_KERNELS_RESAMPLE_H
#define MT_KERNELS_RESAMPLE_H

#include <stdint.h>

#define MT_RESAMPLE_PAIR 8   /* weights of two neighbours of three or four channels */
#define MT_RESAMPLE_BEHIND 8 /* floats that are touched behind a row but mean nothing */

/* blend_rows: sum[i] = over k < count of weights[k] rows[k * stride + i], i < n.
 *
 * narrow_row: pixel x of `to` is, rounded, the sum over k < taps of x's weight k times pixel firsts[x] + k of `row`.
 * With three or four channels taps is even and the weights of neighbours lie as their values do, in
 * MT_RESAMPLE_PAIR floats: one for each channel of the first, of the second, then zeros; else there is one a pixel.
 * MT_RESAMPLE_BEHIND floats behind the row and, in `wide`, behind the result's values are touched. Those behind the row
 * are finite. Sums are within 0..255.5. */
#define MT_RESAMPLE_KERNELS(K)                                                                               \
  K(void, blend_rows,                                                                                        \
    (float *sum, const uint8_t *rows, int64_t stride, const float *weights, int64_t count, int64_t n))       \
  K(void, narrow_row,                                                                                        \
    (uint8_t * to, float *wide, const float *row, const int64_t *firsts, const float *weights, int64_t taps, \
     int64_t width, int64_t channels))

#endif
