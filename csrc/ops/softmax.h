/* softmax and log_softmax of a float32 tensor over one axis (0-based), differentiable. The largest element is
 * subtracted first, so nothing overflows; NaN spreads over its group. An axis of length 0 gives an empty result. */
#ifndef MT_OPS_SOFTMAX_H
#define MT_OPS_SOFTMAX_H

#include "core/tensor.h"

mt_tensor *mt_softmax(mt_tensor *t, int axis);
mt_tensor *mt_log_softmax(mt_tensor *t, int axis);

#endif
