/* 2-d convolution (cross-correlation, as in every deep-learning library).
 *
 * output (N,OH,OW,O) = input (N,H,W,I) * weight (kH,kW,I,O) + bias (O), with zero padding on both sides:
 * OH = (H + 2 padding[0] - kH) / stride[0] + 1, OW likewise. Any kernel, stride >= 1, padding >= 0.
 * N may be 0. Errors: dtypes other than float32, shapes that do not fit, a kernel larger than the padded image. */
#ifndef MT_OPS_CONV2D_H
#define MT_OPS_CONV2D_H

#include "core/tensor.h"

typedef struct {
  int64_t stride[2], padding[2]; /* height, width */
  bool relu;                     /* output = max(0, .), as the convolution writes */
} mt_conv2d_params;

/* bias may be NULL. Gradients for whichever of input, weight and bias need one. */
mt_tensor *mt_conv2d(mt_tensor *input, mt_tensor *weight, mt_tensor *bias, mt_conv2d_params p);

#endif
