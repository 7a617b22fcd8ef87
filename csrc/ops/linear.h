/* The affine map of a fully connected layer. */
#ifndef MT_OPS_LINEAR_H
#define MT_OPS_LINEAR_H

#include "core/tensor.h"

/* y = x w^T + b. x {...,I}, weight {O,I}, bias {O} or NULL, all float32; y {...,O}.
 * Errors: x without axes, weight not {O,I}, x's last axis not I, bias not {O}. */
mt_tensor *mt_linear(mt_tensor *x, mt_tensor *weight, mt_tensor *bias);

#endif
