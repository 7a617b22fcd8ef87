/* Choosing elements of an axis by number, and joining tensors. Axes and positions are 0-based here. Any element
 * type; float32 results are differentiable. */
#ifndef MT_OPS_INDEX_H
#define MT_OPS_INDEX_H

#include "core/tensor.h"

/* The elements positions[0..n-1] of an axis, in that order (the same one may come twice). */
mt_tensor *mt_index_select(mt_tensor *t, int axis, const int64_t *positions, int64_t n);

/* Joined along an axis: the other axes and the element types agree. count >= 1. */
mt_tensor *mt_cat(mt_tensor *const *tensors, int count, int axis);
/* Joined along a new axis 0 <= axis <= ndim: shapes and element types agree. count >= 1. */
mt_tensor *mt_stack(mt_tensor *const *tensors, int count, int axis);

#endif
