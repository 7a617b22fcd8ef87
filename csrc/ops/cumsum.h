/* Running sums along an axis (0-based): float32, differentiable, or int32 for integers, which must hold them. */
#ifndef MT_OPS_CUMSUM_H
#define MT_OPS_CUMSUM_H

#include "core/tensor.h"

mt_tensor *mt_cumsum(mt_tensor *t, int axis);

#endif
