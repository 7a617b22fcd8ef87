/* Joining tensors of one element type. Axes are 0-based here. float32 results are differentiable. */
#ifndef MT_OPS_JOIN_H
#define MT_OPS_JOIN_H

#include "core/tensor.h"

/* Joined along an axis: the other axes and the element types agree. count >= 1. */
mt_tensor *mt_cat(mt_tensor *const *tensors, int count, int axis);
/* Joined along a new axis 0 <= axis <= ndim: shapes and element types agree. count >= 1. */
mt_tensor *mt_stack(mt_tensor *const *tensors, int count, int axis);

#endif
