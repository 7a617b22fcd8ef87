/* log(sum(exp(x))) over any axes (a set of bits as in ops/reduce.h), without overflow. float32, differentiable. */
#ifndef MT_OPS_LOGSUMEXP_H
#define MT_OPS_LOGSUMEXP_H

#include "core/tensor.h"

/* Of nothing: -infinity. */
mt_tensor *mt_logsumexp(mt_tensor *t, unsigned axes, bool keepdim);

#endif
