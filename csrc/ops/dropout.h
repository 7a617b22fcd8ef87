/* Dropout (Srivastava et al. 2014), scaled at training time. */
#ifndef MT_OPS_DROPOUT_H
#define MT_OPS_DROPOUT_H

#include "core/random.h"
#include "core/tensor.h"

/* Any shape, float32. Every element is zeroed with probability p, the others multiplied by 1/(1-p). Advances rng
 * (NULL: the default one) by one block per four elements. Errors: not float32, p outside [0,1]. */
mt_tensor *mt_dropout(mt_tensor *x, double p, mt_rng *rng);

#endif
