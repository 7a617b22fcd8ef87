/* What happens between two convolutions of a chain (ops/conv_chain.h), on one image: batch normalisation, ReLU and
 * max pooling, forward and backward.
 *
 * An image is `rows` x `width` pixels of `channels` floats. Plain images are contiguous; `*_row` is the step between
 * the rows of an image that lies inside a padded one. Per-channel vectors: normalised = z * scale + shift. */
#ifndef MT_KERNELS_STAGE_H
#define MT_KERNELS_STAGE_H

#include <stdbool.h>
#include <stdint.h>

/* One image on its way back through ReLU and batch normalisation. */
typedef struct {
  const float *grad; /* of the activation */
  const float *z;    /* the convolution's output that was normalised */
  const float *mask; /* the activation, where it cannot be recomputed from z alone (residual); else NULL */
  bool relu;
  int64_t rows, width, channels;
  const float *scale, *shift, *mean;
} mt_stage_backward;

#define MT_STAGE_KERNELS(K)                                                                                        \
  /* out = z * scale + shift (+ residual), then ReLU where asked. */                                               \
  K(void, stage_activate,                                                                                          \
    (const float *z, int64_t rows, int64_t width, int64_t channels, const float *scale, const float *shift,        \
     const float *residual, bool relu, float *out, int64_t out_row))                                               \
  /* Mean and sum of squared distances from it, per channel, over one image's pixels. */                           \
  K(void, stage_moments, (const float *z, int64_t pixels, int64_t channels, float *mean, float *squares))          \
  /* With g the gradient behind the ReLU: sum_g += g, sum_gz += g * (z - mean), per channel. */                    \
  K(void, stage_gradient_sums, (const mt_stage_backward *b, float *sum_g, float *sum_gz))                          \
  /* The convolution output's gradient: g * scale + z * z_factor + constant, into rows out_row apart. */           \
  K(void, stage_gradient,                                                                                          \
    (const mt_stage_backward *b, const float *z_factor, const float *constant, float *out, int64_t out_row))       \
  /* g alone: the gradient behind the ReLU (what a residual connection receives), in place of `out` or added. */   \
  K(void, stage_masked, (const float *grad, const float *mask, int64_t count, bool add, float *out))               \
  /* Max pooling, window = stride = pool, of rows x width (incomplete windows dropped). */                         \
  K(void, stage_pool,                                                                                              \
    (const float *in, int64_t rows, int64_t width, int64_t channels, int64_t pool, float *out, int64_t out_row))   \
  /* Spreads the pooled gradient to each window's first maximum; zeros elsewhere. out is rows x width. */          \
  K(void, stage_unpool,                                                                                            \
    (const float *grad, const float *in, int64_t rows, int64_t width, int64_t channels, int64_t pool, float *out)) \
  /* rows of `count` floats, from steps of in_row to steps of out_row. */                                          \
  K(void, stage_copy, (const float *in, int64_t rows, int64_t count, int64_t in_row, float *out, int64_t out_row))

#endif
