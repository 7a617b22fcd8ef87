/* Batch normalisation over all axes but the last (Ioffe and Szegedy 2015), 1-d and 2-d alike.
 *
 * output = (input - mean) / sqrt(var + eps) * weight + bias, per channel: input (...,C), everything else (C).
 * Training: mean and (biased) variance of the batch; running_mean and running_var move by `momentum` towards the
 * batch's mean and unbiased variance, in place. Evaluation: the running statistics are used.
 * Errors: dtypes, shapes, training with a single value per channel. */
#ifndef MT_OPS_BATCHNORM_H
#define MT_OPS_BATCHNORM_H

#include "core/tensor.h"

typedef struct {
  bool training;
  float momentum, eps;
  bool relu;           /* output = max(0, .) in the same pass */
  mt_tensor *residual; /* (...,C), added before the ReLU; NULL: none */
} mt_batch_norm_params;

/* Gradients for whichever of input, weight, bias and residual need one. */
mt_tensor *mt_batch_norm(mt_tensor *input, mt_tensor *weight, mt_tensor *bias, mt_tensor *running_mean,
                         mt_tensor *running_var, mt_batch_norm_params p);

/* Checks everything; `shape` is the input's, before there is one. */
int mt_batch_norm_check(int ndim, const int64_t *shape, const mt_tensor *weight, const mt_tensor *bias,
                        const mt_tensor *running_mean, const mt_tensor *running_var, const mt_batch_norm_params *p);

#endif
