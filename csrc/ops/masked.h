/* Which elements are not 0 (NaN is not), and the elements that a mask of any type marks in this sense. */
#ifndef MT_OPS_MASKED_H
#define MT_OPS_MASKED_H

#include "core/tensor.h"

int64_t mt_count_nonzero(const mt_tensor *t);
/* Their places in row-major order, counted from 0. */
void mt_list_nonzero(const mt_tensor *t, int64_t *places);
/* Their 1-based coordinates in row-major order, one row each: int32 {n,ndim}. */
mt_tensor *mt_nonzero(const mt_tensor *t);

/* The marked elements in row-major order, {n}; t and mask broadcast. Any element type; float32 is differentiable. */
mt_tensor *mt_masked_select(mt_tensor *t, mt_tensor *mask);

#endif
