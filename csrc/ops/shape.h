/* Operations that rename or move elements without computing on them. All are differentiable, take any
 * element type and return a new reference. reshape, squeeze and unsqueeze share the input's storage; everything else
 * copies. Axes are 0-based here. */
#ifndef MT_OPS_SHAPE_H
#define MT_OPS_SHAPE_H

#include "core/tensor.h"

/* One size may be -1: it follows from the others. */
mt_tensor *mt_reshape(mt_tensor *t, int ndim, const int64_t *shape);
/* Axis `axis`, or with -1 every axis, is dropped where it is 1 long. */
mt_tensor *mt_squeeze(mt_tensor *t, int axis);
/* A new axis of length 1 before axis 0 <= axis <= ndim. */
mt_tensor *mt_unsqueeze(mt_tensor *t, int axis);
/* Axis i of the result is axis order[i] of t; order is a permutation of 0..ndim-1. */
mt_tensor *mt_permute(mt_tensor *t, const int *order);
/* The same values; a node of its own in the graph, a buffer of its own. */
mt_tensor *mt_clone(mt_tensor *t);

/* A tensor whose element (i, j, ...) is t's element i * strides[0] + j * strides[1] + ... Not recorded. */
mt_tensor *mt_strided_copy(const mt_tensor *t, int ndim, const int64_t *shape, const int64_t *strides);

/* t as (outer, length of `axis`, inner). */
typedef struct {
  int64_t outer, n, inner;
} mt_axis_view;
mt_axis_view mt_view_axis(const mt_tensor *t, int axis);

#endif
