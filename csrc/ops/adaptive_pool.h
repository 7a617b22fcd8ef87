/* Pooling to a given size: (N,H,W,C) -> (N,size[0],size[1],C); a size of 0 keeps the input's. Output o of an axis
 * covers the inputs from floor(o H / size) to ceil((o + 1) H / size), as in PyTorch. Errors: dtype, axes, images
 * without pixels. */
#ifndef MT_OPS_ADAPTIVE_POOL_H
#define MT_OPS_ADAPTIVE_POOL_H

#include "core/tensor.h"

mt_tensor *mt_adaptive_avg_pool2d(mt_tensor *input, const int64_t size[2]);
/* A NaN wins; among equals the first gets the gradient. */
mt_tensor *mt_adaptive_max_pool2d(mt_tensor *input, const int64_t size[2]);

#endif
