/* Pooling over the two middle axes of (N,H,W,C).
 *
 * Windows kernel[0] x kernel[1] every stride[0] x stride[1]; OH = (H + 2 padding[0] - kernel[0]) / stride[0] + 1, OW
 * likewise. padding at most half the kernel, as in PyTorch. Errors: dtype, axes, windows larger than the padded image.
 */
#ifndef MT_OPS_POOL_H
#define MT_OPS_POOL_H

#include "core/tensor.h"

/* The largest value of each window; padding never wins; a NaN always does. Among equals the first gets the gradient. */
mt_tensor *mt_max_pool2d(mt_tensor *input, const int64_t kernel[2], const int64_t stride[2], const int64_t padding[2]);

/* Sum over the window, padding as zeros, divided by kernel[0] * kernel[1] (PyTorch's count_include_pad = true). */
mt_tensor *mt_avg_pool2d(mt_tensor *input, const int64_t kernel[2], const int64_t stride[2], const int64_t padding[2]);

/* (N,H,W,C) -> (N,C): the mean of every channel. */
mt_tensor *mt_global_avg_pool(mt_tensor *input);

#endif
