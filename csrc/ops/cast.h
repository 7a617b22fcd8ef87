/* Conversion between element types. */
#ifndef MT_OPS_CAST_H
#define MT_OPS_CAST_H

#include "core/tensor.h"

/* The values of t (any shape) as `dtype`; a new reference to t itself when it has that type already.
 * float32 -> integers truncates towards zero and saturates at the type's ends, NaN becomes 0; int32 -> uint8
 * saturates; int32 -> float32 rounds to nearest. Gradients flow only where the type stays float32. */
mt_tensor *mt_cast(mt_tensor *t, mt_dtype dtype);

#endif
