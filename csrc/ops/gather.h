/* Reading and adding along an axis by number, a number for each element. Axes are 0-based here, the numbers in `index`
 * (int32, as many axes as t, in the other axes not longer than t) count from 1. float32 results are differentiable. */
#ifndef MT_OPS_GATHER_H
#define MT_OPS_GATHER_H

#include "core/tensor.h"

/* Of index's shape; for two axes and axis 1: result[i][j] = t[i][index[i][j]]. Any element type. */
mt_tensor *mt_gather(mt_tensor *t, int axis, mt_tensor *index);

/* t and, for every element of source (of index's shape): result[i][index[i][j]] += source[i][j]. float32, or int32 that
 * wraps around. Adds in row-major order of source: the same bits every time. */
mt_tensor *mt_scatter_add(mt_tensor *t, int axis, mt_tensor *index, mt_tensor *source);

/* The same into a float32 tensor itself, without any check or record: the gradient of what chose by `index`. */
void mt_add_at(mt_tensor *into, int axis, const mt_tensor *index, const mt_tensor *source);

#endif
