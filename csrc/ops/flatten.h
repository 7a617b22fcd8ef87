/* From images to rows, in the order PyTorch's linear layers expect. */
#ifndef MT_OPS_FLATTEN_H
#define MT_OPS_FLATTEN_H

#include "core/tensor.h"

/* x {N,...,C} -> {N,C*...}: channels first within each row, so that {N,H,W,C} becomes {N,C*H*W} exactly as
 * PyTorch flattens N,C,H,W. {N,C} stays as it is. Errors: not float32, fewer than 2 axes. */
mt_tensor *mt_flatten(mt_tensor *x);

#endif
