/* Convolutions with groups of several channels and without dilation, for ops/conv2d_grouped.c: each group of each image
 * is a convolution of its own (conv/conv.h), whose channels are copied together first. */
#ifndef MT_OPS_CONV2D_BY_GROUP_H
#define MT_OPS_CONV2D_BY_GROUP_H

#include "ops/conv2d.h"

/* Fills the output, bias and ReLU applied. -1: no memory. */
int mt_conv2d_by_group(const mt_tensor *input, const mt_tensor *weight, const mt_tensor *bias,
                       const mt_conv2d_params *p, mt_tensor *output);

/* in: of the input, kernel: of the weight. Fills grad_input and grad_weight; either may be NULL, and then weight or
 * input too. */
int mt_conv2d_by_group_backward(const mt_tensor *input, const mt_tensor *weight, const mt_tensor *grad_output,
                                const int64_t in[4], const int64_t kernel[4], const mt_conv2d_params *p,
                                mt_tensor *grad_input, mt_tensor *grad_weight);

#endif
