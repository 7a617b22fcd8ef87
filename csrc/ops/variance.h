/* Variance and standard deviation over any axes (a set of bits as in ops/reduce.h): float32, NaN where nothing is left
 * to divide by, differentiable. */
#ifndef MT_OPS_VARIANCE_H
#define MT_OPS_VARIANCE_H

#include "core/tensor.h"

/* Divides by n - 1 where unbiased, by n otherwise. */
mt_tensor *mt_var(mt_tensor *t, unsigned axes, bool keepdim, bool unbiased);
mt_tensor *mt_std(mt_tensor *t, unsigned axes, bool keepdim, bool unbiased);

#endif
