/* Largest and smallest elements, and where they are. Any element type, kept; NaN is larger and smaller than everything,
 * as in PyTorch; of equal elements the first counts. Reducing an axis of length 0 is an error. */
#ifndef MT_OPS_EXTREMUM_H
#define MT_OPS_EXTREMUM_H

#include "core/tensor.h"

/* Over a set of axes (bit i: axis i, 0-based). The gradient is shared evenly among equal extremes. */
mt_tensor *mt_extreme(mt_tensor *t, bool largest, unsigned axes, bool keepdim);

/* Over one axis, with the 1-based positions along it in *positions (int32, a new reference). The gradient goes to
 * those positions. */
mt_tensor *mt_extreme_along(mt_tensor *t, bool largest, int axis, bool keepdim, mt_tensor **positions);

/* The positions alone; axis -1: the 1-based position in row-major order among all elements, a scalar. */
mt_tensor *mt_argmax(mt_tensor *t, int axis, bool keepdim);

#endif
