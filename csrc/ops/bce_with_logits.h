/* Binary cross-entropy of sigmoid(logits), element by element. */
#ifndef MT_OPS_BCE_WITH_LOGITS_H
#define MT_OPS_BCE_WITH_LOGITS_H

#include "ops/loss.h"

/* logits and targets (probabilities) float32 of one shape; weight multiplies losses, pos_weight the part of the
 * positives: NULL, or constants that broadcast to that shape. -> scalar (the mean is over all elements, whatever their
 * weights), or the shape with MT_REDUCE_NONE. */
mt_tensor *mt_bce_with_logits(mt_tensor *logits, mt_tensor *targets, mt_tensor *weight, mt_tensor *pos_weight,
                              mt_reduction reduction);

#endif
