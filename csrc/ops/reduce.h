/* Reductions over any axes: sum and mean, and what the others are made with; and their reverse.
 *
 * Sums of four numbers are gathered in double precision, in an order that the shape alone decides: the result is the
 * same at every thread count. `axes` is a set of bits (bit i: axis i, 0-based) and may be any subset; an empty set of a
 * scalar leaves it as it is. With keepdim a reduced axis stays with length 1. */
#ifndef MT_OPS_REDUCE_H
#define MT_OPS_REDUCE_H

#include "core/tensor.h"

static inline unsigned mt_all_axes(const mt_tensor *t) { return (1u << t->ndim) - 1; }

/* float32, or int32 for integers (an error where the sum does not fit). Of nothing: 0. */
mt_tensor *mt_sum(mt_tensor *t, unsigned axes, bool keepdim);
/* float32. Of nothing: NaN. */
mt_tensor *mt_mean(mt_tensor *t, unsigned axes, bool keepdim);

/* Repeats axes that are 1 long (or missing in front) until the shape is `shape`. Any element type. */
mt_tensor *mt_expand(mt_tensor *t, int ndim, const int64_t *shape);
/* Sums a float32 tensor over the axes along which `shape` was broadcast to t's: the gradient of broadcasting.
 * A new reference to t itself where the shapes agree. Not recorded. */
mt_tensor *mt_sum_to_shape(mt_tensor *t, int ndim, const int64_t *shape);

/* The shape of t without the axes (or with length 1 there); returns the number of axes. */
int mt_reduced_shape(const mt_tensor *t, unsigned axes, bool keepdim, int64_t shape[MT_MAX_DIMS]);

/* A float32 tensor, possibly t itself, whose `axes` are neighbours, and how it looks as (outer, n, inner). */
typedef struct {
  mt_tensor *values; /* a new reference */
  int64_t outer, n, inner;
} mt_reduction_view;
/* -1 on error; otherwise the caller releases view->values. */
int mt_view_reduction(mt_tensor *t, unsigned axes, mt_reduction_view *view);

#endif
