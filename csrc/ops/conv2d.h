/* 2-d convolution (cross-correlation, as in every deep-learning library).
 *
 * output (N,OH,OW,O) = input (N,H,W,I) * weight (kH,kW,I/groups,O) + bias (O), with zeros around the image:
 * OH = (H + 2 padding[0] + surplus[0] - dilation[0] (kH - 1) - 1) / stride[0] + 1, OW likewise. Output channels
 * g O/groups ... see only the input channels g I/groups ... of their group. Any kernel, stride >= 1, padding >= 0.
 * N may be 0. Errors: dtypes other than float32, shapes that do not fit, a kernel larger than the padded image. */
#ifndef MT_OPS_CONV2D_H
#define MT_OPS_CONV2D_H

#include "core/tensor.h"

typedef struct {
  int64_t stride[2], padding[2]; /* height, width; the padding above and on the left */
  int64_t surplus[2];            /* how much more there is below and on the right; may be negative */
  int64_t dilation[2], groups;   /* 0 counts as 1 */
  bool relu;                     /* output = max(0, .), as the convolution writes */
} mt_conv2d_params;

static inline int64_t mt_conv2d_dilation(const mt_conv2d_params *p, int axis) {
  return p->dilation[axis] > 0 ? p->dilation[axis] : 1;
}
static inline int64_t mt_conv2d_groups(const mt_conv2d_params *p) { return p->groups > 0 ? p->groups : 1; }

/* Sets padding and surplus so that OH = ceil(H / stride[0]), OW likewise; what cannot be shared out evenly goes below
 * and to the right: "SAME" of TensorFlow, and at stride 1 PyTorch's "same". size: H, W. */
void mt_conv2d_pad_same(mt_conv2d_params *p, const int64_t size[2], const int64_t kernel[2]);

/* bias may be NULL. Gradients for whichever of input, weight and bias need one. */
mt_tensor *mt_conv2d(mt_tensor *input, mt_tensor *weight, mt_tensor *bias, mt_conv2d_params p);

/* The same with a residual of the output's shape (NULL: none) added before the ReLU, which gradients do not reach; not
 * with groups or dilation. */
mt_tensor *mt_conv2d_added(mt_tensor *input, mt_tensor *weight, mt_tensor *bias, mt_conv2d_params p,
                           const mt_tensor *residual);

/* Checks everything and fills the output's shape. */
int mt_conv2d_check(const mt_tensor *input, const mt_tensor *weight, const mt_tensor *bias, const mt_conv2d_params *p,
                    int64_t out_shape[4]);

#endif
