/* Batch norm's passes over blocks of pixels x channels (contiguous, channels last).
 *
 * Sums are over one block in float; callers keep blocks small and combine them in double. */
#ifndef MT_KERNELS_NORM_H
#define MT_KERNELS_NORM_H

#include <stdbool.h>
#include <stdint.h>

/* Per-channel coefficients of the forward pass y = relu(z * scale + shift + residual), and of its gradient
 * grad_z = g * scale + (z - mean) * slope + offset, where g is grad_y where the ReLU let y through. The mask comes from
 * y where that is given, else from z * scale + shift. */
typedef struct {
  const float *scale, *shift;
  const float *mean, *slope, *offset;
  bool relu;
} mt_norm_channels;

#define MT_NORM_KERNELS(K)                                                                                             \
  /* moments, 3 x channels: a center near the mean, the sum of (x - center) and of its square. The center is the mean  \
   * of a few of the block's own pixels, which bounds what cancels when the deviation from the mean is computed. */    \
  K(void, channel_moments, (const float *x, int64_t pixels, int64_t channels, float *moments))                         \
  K(void, channel_sums, (const float *x, int64_t pixels, int64_t channels, float *sums))                               \
  K(void, norm_forward,                                                                                                \
    (const mt_norm_channels *c, const float *z, const float *residual, int64_t pixels, int64_t channels, float *y))    \
  /* sums of g and of g * (z - mean) */                                                                                \
  K(void, norm_backward_sums,                                                                                          \
    (const mt_norm_channels *c, const float *z, const float *y, const float *grad_y, int64_t pixels, int64_t channels, \
     float *sum_g, float *sum_gz))                                                                                     \
  /* grad_z and g (the residual's gradient); either may be NULL, but not both */                                       \
  K(void, norm_backward,                                                                                               \
    (const mt_norm_channels *c, const float *z, const float *y, const float *grad_y, int64_t pixels, int64_t channels, \
     float *grad_z, float *grad_residual))

#endif
