/* Comparison of two tensors, and choice by a mask; with broadcasting (axes aligned at the end, lengths equal or 1). */
#ifndef MT_OPS_COMPARE_H
#define MT_OPS_COMPARE_H

#include "core/tensor.h"

typedef enum { MT_EQ, MT_NE, MT_LT, MT_LE, MT_GT, MT_GE } mt_comparison;

/* uint8, 1 where true. NaN is equal to nothing, and neither less nor greater. */
mt_tensor *mt_compare(mt_comparison comparison, mt_tensor *a, mt_tensor *b);

/* a where mask (any type) is not 0, b elsewhere; the element type that both fit in. Differentiable in a and b. */
mt_tensor *mt_where(mt_tensor *mask, mt_tensor *a, mt_tensor *b);

#endif
