/* The classification loss: -log softmax(logits)[label]. */
#ifndef MT_OPS_CROSS_ENTROPY_H
#define MT_OPS_CROSS_ENTROPY_H

#include "ops/loss.h"

typedef struct {
  mt_label_options labels;
  double smoothing; /* in [0, 1]: this share of each target goes to all classes alike */
} mt_cross_entropy_options;

/* logits float32 {N,k}; targets int32 labels {N} in 1..k, or float32 {N,k}, each row the wanted probabilities (which
 * may require gradients too) -> scalar, or {N} with MT_REDUCE_NONE. The mean over no samples is NaN. Errors: wrong
 * types or shapes, k = 0, a label out of range, ignored labels where there are none. */
mt_tensor *mt_cross_entropy(mt_tensor *logits, mt_tensor *targets, mt_cross_entropy_options options);

/* cross_entropy_rows.c: the same for arguments that were checked, with any options. */
mt_tensor *mt_cross_entropy_rows(mt_tensor *logits, mt_tensor *targets, const mt_cross_entropy_options *options);

#endif
