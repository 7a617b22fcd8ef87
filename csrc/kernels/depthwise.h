/* Convolutions in which every input channel has outputs of its own, `multiplier` of them: output channel
 * c * multiplier + j sees input channel c. Weights are kH,kW,outputs. One row at a time, as in kernels/pool.h. */
#ifndef MT_KERNELS_DEPTHWISE_H
#define MT_KERNELS_DEPTHWISE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
  int64_t in_size[2], out_size[2], channels, multiplier; /* of one image; channels: of the input */
  int64_t kernel[2], stride[2], padding[2], dilation[2];
} mt_depthwise_shape;

#define MT_DEPTHWISE_KERNELS(K)                                                                                     \
  /* in, out, grad_in, grad_out: one image; row: of out in forward, of grad_in in backward. bias may be NULL. */    \
  K(void, depthwise_row,                                                                                            \
    (const mt_depthwise_shape *s, const float *in, const float *weights, const float *bias, bool relu, int64_t row, \
     float *out))                                                                                                   \
  K(void, depthwise_grad_input_row,                                                                                 \
    (const mt_depthwise_shape *s, const float *grad_out, const float *weights, int64_t row, float *grad_in))        \
  /* Adds one image's part of the weights' gradient to `sums`. */                                                   \
  K(void, depthwise_grad_weight, (const mt_depthwise_shape *s, const float *in, const float *grad_out, float *sums))

#endif
