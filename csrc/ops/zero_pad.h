/* Zeros around images: (N,H,W,C) -> (N,top+H+bottom,left+W+right,C). Errors: dtype, axes, negative sizes. */
#ifndef MT_OPS_ZERO_PAD_H
#define MT_OPS_ZERO_PAD_H

#include "core/tensor.h"

typedef struct {
  int64_t top, bottom, left, right;
} mt_sides;

mt_tensor *mt_zero_pad2d(mt_tensor *input, mt_sides sides);

#endif
