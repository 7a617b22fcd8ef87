/* Convolutions with groups or dilation, for ops/conv2d.c.
 *
 * Without dilation every group is a convolution of its own (ops/conv2d_by_group.h). With it each group's inputs under
 * some output pixels are gathered into a matrix {pixels, kH kW I/groups}, which turns all three passes into matrix
 * products on the convolution's own kernels. Where a group has one input channel (depthwise convolutions) there is
 * nothing to multiply; those go through conv/depthwise.h. */
#ifndef MT_OPS_CONV2D_GROUPED_H
#define MT_OPS_CONV2D_GROUPED_H

#include "ops/conv2d.h"

static inline bool mt_conv2d_is_grouped(const mt_conv2d_params *p) {
  return mt_conv2d_groups(p) > 1 || mt_conv2d_dilation(p, 0) > 1 || mt_conv2d_dilation(p, 1) > 1;
}

/* The arguments are checked (mt_conv2d_check). A new tensor, bias and ReLU applied; not recorded. */
mt_tensor *mt_conv2d_grouped(const mt_tensor *input, const mt_tensor *weight, const mt_tensor *bias,
                             const mt_conv2d_params *p, const int64_t out_shape[4]);

/* Fills grad_input and grad_weight; either may be NULL, and then weight or input too. */
int mt_conv2d_grouped_backward(const mt_tensor *input, const mt_tensor *weight, const mt_tensor *grad_output,
                               const mt_conv2d_params *p, mt_tensor *grad_input, mt_tensor *grad_weight);

#endif
