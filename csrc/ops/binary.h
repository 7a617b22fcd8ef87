/* Arithmetic of two tensors with broadcasting (axes aligned at the end, lengths equal or 1).
 *
 * Element types: float32 with anything gives float32; integers among themselves give int32 (wrapping around at its
 * ends), except that maximum and minimum of two uint8 stay uint8. Division and powers always give float32. float32
 * results are differentiable. */
#ifndef MT_OPS_BINARY_H
#define MT_OPS_BINARY_H

#include "core/tensor.h"

mt_tensor *mt_add(mt_tensor *a, mt_tensor *b);
mt_tensor *mt_sub(mt_tensor *a, mt_tensor *b);
mt_tensor *mt_mul(mt_tensor *a, mt_tensor *b);
mt_tensor *mt_div(mt_tensor *a, mt_tensor *b);
/* a to the power of b; mt_pow (ops/elementwise.h) for one exponent. */
mt_tensor *mt_power(mt_tensor *a, mt_tensor *b);
/* NaN where either is NaN; where both are equal, each gets half of the gradient. */
mt_tensor *mt_maximum(mt_tensor *a, mt_tensor *b);
mt_tensor *mt_minimum(mt_tensor *a, mt_tensor *b);

/* The type that both fit in: the same one, or int32, or float32 where one is float32. */
mt_dtype mt_common_dtype(mt_dtype a, mt_dtype b);

#endif
