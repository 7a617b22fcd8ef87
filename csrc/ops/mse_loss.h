/* The squared error, element by element. */
#ifndef MT_OPS_MSE_LOSS_H
#define MT_OPS_MSE_LOSS_H

#include "ops/loss.h"

/* input and target float32 of one shape -> scalar, or the shape with MT_REDUCE_NONE. Both may require gradients. */
mt_tensor *mt_mse_loss(mt_tensor *input, mt_tensor *target, mt_reduction reduction);

#endif
