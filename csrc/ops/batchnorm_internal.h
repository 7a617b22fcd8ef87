/* The part of batch norm that the fused conv2d_batchnorm shares. Not for other files. */
#ifndef MT_OPS_BATCHNORM_INTERNAL_H
#define MT_OPS_BATCHNORM_INTERNAL_H

#include "ops/batchnorm.h"

/* Moments of consecutive blocks of pixels, as the kernel channel_moments writes them: (blocks, 3, channels). */
typedef struct {
  int64_t blocks;
  float *values;
  int64_t (*pixels)(const void *context, int64_t block); /* in a block */
  const void *context;
} mt_moments;

/* Checks everything; `shape` is the input's, before there is one. */
int mt_batch_norm_check(int ndim, const int64_t *shape, const mt_tensor *weight, const mt_tensor *bias,
                        const mt_tensor *running_mean, const mt_tensor *running_var, const mt_batch_norm_params *p);

/* scale and shift with which evaluation computes input * scale + shift. */
void mt_batch_norm_fold(const mt_tensor *weight, const mt_tensor *bias, const mt_tensor *running_mean,
                        const mt_tensor *running_var, float eps, float *scale, float *shift);

/* mt_batch_norm, checked before, with the batch's moments where they are known already (else NULL). */
mt_tensor *mt_batch_norm_with(mt_tensor *input, mt_tensor *weight, mt_tensor *bias, mt_tensor *running_mean,
                              mt_tensor *running_var, mt_batch_norm_params p, const mt_moments *moments);

#endif
