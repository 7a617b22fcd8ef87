/* Products along an axis (0-based) or, with axis -1, of everything: float32, differentiable, or int32 for integers,
 * which must hold it. Of nothing: 1. */
#ifndef MT_OPS_PRODUCT_H
#define MT_OPS_PRODUCT_H

#include "core/tensor.h"

mt_tensor *mt_prod(mt_tensor *t, int axis, bool keepdim);

#endif
