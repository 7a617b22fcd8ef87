/* The shortcut without parameters of residual nets for small images (He et al. 2016, option A). */
#ifndef MT_OPS_SHORTCUT_H
#define MT_OPS_SHORTCUT_H

#include "core/tensor.h"

/* (N,H,W,C) -> (N,OH,OW,C + 2 padding): every stride-th pixel from the first on, OH = ceil(H / stride), OW likewise,
 * with `padding` channels of zeros on each side of its own. Errors: dtype, axes, stride below 1, padding below 0. */
mt_tensor *mt_shortcut(mt_tensor *input, int64_t stride, int64_t padding);

#endif
