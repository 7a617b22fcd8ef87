/* The classification loss: -log softmax(logits)[label]. */
#ifndef MT_OPS_CROSS_ENTROPY_H
#define MT_OPS_CROSS_ENTROPY_H

#include "core/tensor.h"

typedef enum { MT_REDUCE_MEAN, MT_REDUCE_SUM, MT_REDUCE_NONE } mt_reduction;

/* logits float32 {N,k}, labels int32 {N} in 1..k -> scalar, or {N} with MT_REDUCE_NONE. The mean over no samples is
 * NaN. Errors: wrong types or shapes, k = 0, a label out of range (position, value and range are named). */
mt_tensor *mt_cross_entropy(mt_tensor *logits, mt_tensor *labels, mt_reduction reduction);

#endif
