/* Step functions of one tensor: the type is kept (integers are whole already), and where it is float32 the gradient is
 * zero, as in PyTorch. Any shape. */
#ifndef MT_OPS_ROUNDING_H
#define MT_OPS_ROUNDING_H

#include "core/tensor.h"

mt_tensor *mt_floor(mt_tensor *t);
mt_tensor *mt_ceil(mt_tensor *t);
/* To the nearest whole number, halves to the even one. */
mt_tensor *mt_round(mt_tensor *t);
/* -1, 0 or 1; 0 for NaN. */
mt_tensor *mt_sign(mt_tensor *t);

#endif
