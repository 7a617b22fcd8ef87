/* Norms of the vectors along any axes (a set of bits as in ops/reduce.h), float32, differentiable. */
#ifndef MT_OPS_VECTOR_NORM_H
#define MT_OPS_VECTOR_NORM_H

#include "core/tensor.h"

/* (sum |x|^p)^(1/p); p infinite: the largest |x|, -infinite: the smallest, 0: how many elements are not 0. The gradient
 * is 0 where the norm is 0 and shared evenly among equal extremes, as in PyTorch; p = 0 has none. */
mt_tensor *mt_vector_norm(mt_tensor *t, double p, unsigned axes, bool keepdim);

#endif
