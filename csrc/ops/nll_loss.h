/* The negative log-likelihood of labels: cross-entropy of log-probabilities that are there already. */
#ifndef MT_OPS_NLL_LOSS_H
#define MT_OPS_NLL_LOSS_H

#include "ops/loss.h"

/* log_probabilities float32 {N,k}, labels int32 {N} in 1..k -> scalar, or {N} with MT_REDUCE_NONE. Errors as for
 * mt_cross_entropy. */
mt_tensor *mt_nll_loss(mt_tensor *log_probabilities, mt_tensor *labels, mt_label_options options);

#endif
