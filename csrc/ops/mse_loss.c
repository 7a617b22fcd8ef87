/* (input - target)^2, composed of operations that know their own way back. */
#include "ops/mse_loss.h"

#include "ops/binary.h"

mt_tensor *mt_mse_loss(mt_tensor *input, mt_tensor *target, mt_reduction reduction) {
  if (mt_expect_dtype(input, MT_FLOAT32, "mse_loss", "input") < 0 ||
      mt_expect_dtype(target, MT_FLOAT32, "mse_loss", "target") < 0 ||
      mt_expect_shape(target, input->ndim, input->shape, "mse_loss", "target") < 0)
    return NULL;
  mt_tensor *difference = mt_sub(input, target);
  mt_tensor *squares = difference ? mt_mul(difference, difference) : NULL;
  mt_release(difference);
  return mt_reduce_losses(squares, reduction);
}
