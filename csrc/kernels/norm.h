/* Normalisation of images with one factor and one shift for each channel, and the ReLU behind it: forward, the moments
 * that training takes the factors from, and backward. Batch normalisation, alone or between two convolutions.
 *
 * An image is `rows` x `width` pixels of `channels` floats, contiguous; results may go into rows `out_row` floats
 * apart, as they lie inside a padded image. Any run of pixels is an image of one row. Per channel:
 *
 *   y = relu(z * scale + shift + residual)
 *
 * relu: max(0, .), and where limit > 0 also min(limit, .), as in ReLU6. A gradient passes where 0 < y (< limit); a NaN
 * passes. Sums are over one image, in float; callers keep images small and add them up in double. */
#ifndef MT_KERNELS_NORM_H
#define MT_KERNELS_NORM_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
  const float *z;
  const float *scale, *shift, *residual; /* residual: NULL where there is none */
  bool relu;
  float limit;
  int64_t rows, width, channels;
} mt_norm_image;

/* One image on its way back. */
typedef struct {
  const float *grad; /* of y */
  const float *z;
  const float *mask; /* y, where it cannot be made again from z alone (a residual); else NULL */
  const float *scale, *shift, *mean;
  bool relu;
  float limit;
  int64_t rows, width, channels;
} mt_norm_grad_image;

#define MT_NORM_KERNELS(K)                                                                                  \
  K(void, norm_forward, (const mt_norm_image *n, float *y, int64_t out_row))                                \
  /* Mean and sum of squared distances from it, per channel. */                                             \
  K(void, norm_moments, (const float *z, int64_t pixels, int64_t channels, float *mean, float *squares))    \
  /* With g the gradient behind the ReLU: the sums of g and of g * (z - mean), per channel. */              \
  K(void, norm_grad_sums, (const mt_norm_grad_image *n, float *sum_g, float *sum_gz))                       \
  /* The gradient of z: g * scale + ((z - mean) * slope + offset). */                                       \
  K(void, norm_grad,                                                                                        \
    (const mt_norm_grad_image *n, const float *slope, const float *offset, float *grad_z, int64_t out_row)) \
  /* g alone, which a residual receives, from y; in place of `out` or added to it. */                       \
  K(void, relu_grad, (const float *grad, const float *y, float limit, int64_t count, bool add, float *out)) \
  K(void, channel_sums, (const float *x, int64_t pixels, int64_t channels, float *sums))

#endif
