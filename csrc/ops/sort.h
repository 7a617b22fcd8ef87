/* Elements of an axis (0-based) in order. Any element type, kept. Equal elements stay in their order; NaN is larger
 * than everything, as in PyTorch. `positions` gets a new reference: int32, 1-based along the axis. The gradient of
 * values goes to where they came from. */
#ifndef MT_OPS_SORT_H
#define MT_OPS_SORT_H

#include "core/tensor.h"

mt_tensor *mt_sort(mt_tensor *t, int axis, bool descending, mt_tensor **positions);
mt_tensor *mt_argsort(mt_tensor *t, int axis, bool descending);
/* The k largest (or smallest) elements, in order; 0 <= k <= the axis's length. */
mt_tensor *mt_topk(mt_tensor *t, int64_t k, int axis, bool largest, mt_tensor **positions);

#endif
