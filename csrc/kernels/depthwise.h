/* Convolutions in which every output channel sees one input channel, that of its own number.
 *
 * Along each axis output o and tap k meet at input origin + o * stride + k * dilation, or outside the image, where
 * there are zeros. Steps are in floats; those of the weights may be negative, which turns a kernel around: the gradient
 * for the input is this same walk over the output's gradient. */
#ifndef MT_KERNELS_DEPTHWISE_H
#define MT_KERNELS_DEPTHWISE_H

#include <stdint.h>

/* One image. Pixels of the input follow each other without gaps. */
typedef struct {
  const float *in;
  int64_t in_size[2], channels;
  int64_t taps[2], stride[2], dilation[2], origin[2];
  const float *weights; /* tap (ky, kx) of channel c: weights[ky * weight_row + kx * weight_tap + c] */
  int64_t weight_row, weight_tap;
  const float *bias; /* channels floats, or NULL */
  float low, high;   /* what the output is clamped to; NaN stays NaN */
  float *out;
  int64_t width, out_row, out_pixel;
} mt_depthwise_block;

/* One image's part of the weights' gradient. `grad` is the output's, its rows grad_row apart. */
typedef struct {
  const float *in, *grad;
  int64_t in_size[2], channels, width, grad_row; /* width: of grad */
  int64_t taps[2], stride[2], dilation[2], origin[2];
  float *sums; /* taps[0], taps[1], channels: added to */
} mt_depthwise_grad_block;

#define MT_DEPTHWISE_KERNELS(K)                                                      \
  /* Output rows [first, end). */                                                    \
  K(void, depthwise_rows, (const mt_depthwise_block *b, int64_t first, int64_t end)) \
  /* Adds what the gradient's rows [first, end) contribute. */                       \
  K(void, depthwise_grad_weight, (const mt_depthwise_grad_block *b, int64_t first, int64_t end))

#endif
