/* Pooling over the two middle axes of (N,H,W,C), with PyTorch's options and values.
 *
 * Windows kernel[0] x kernel[1], their pixels dilation[0] x dilation[1] apart, every stride[0] x stride[1];
 * OH = (H + 2 padding[0] - dilation[0] (kernel[0] - 1) - 1) / stride[0] + 1, rounded down, or up with ceil_mode (but no
 * window begins below the image and its upper padding); OW likewise. padding at most half the kernel. Errors: dtype,
 * axes, windows larger than the padded image. */
#ifndef MT_OPS_POOL_H
#define MT_OPS_POOL_H

#include "core/tensor.h"

typedef struct {
  int64_t kernel[2], stride[2], padding[2]; /* height, width */
  int64_t dilation[2];                      /* of a maximum; 0 counts as 1 */
  bool ceil_mode;
  bool ignore_pad; /* of a mean: divide by the pixels inside the image (PyTorch's count_include_pad = false) */
} mt_pool2d_params;

/* The largest value of each window; padding never wins; a NaN always does. Among equals the first gets the gradient. */
mt_tensor *mt_max_pool2d(mt_tensor *input, const mt_pool2d_params *p);

/* Sum over the window, padding as zeros, divided by the pixels of the window that lie in the padded image. */
mt_tensor *mt_avg_pool2d(mt_tensor *input, const mt_pool2d_params *p);

/* (N,H,W,C) -> (N,C): the mean of every channel. */
mt_tensor *mt_global_avg_pool(mt_tensor *input);

#endif
