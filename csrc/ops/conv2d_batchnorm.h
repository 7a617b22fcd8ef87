/* Convolution and batch normalisation (and ReLU, and a residual) as one operation: the same values and gradients as
 * mt_batch_norm(mt_conv2d(...)), up to rounding, with fewer passes over memory.
 *
 * Training: the batch's statistics are gathered while each block of the convolution's output is in cache.
 * Evaluation: the normalisation is folded into the convolution's weights and bias. */
#ifndef MT_OPS_CONV2D_BATCHNORM_H
#define MT_OPS_CONV2D_BATCHNORM_H

#include "ops/batchnorm.h"
#include "ops/conv2d.h"

/* input (N,H,W,I), conv_weight (kH,kW,I,O), conv_bias (O) or NULL; weight, bias, running_mean, running_var (O):
 * the normalisation's. conv.relu must be false (norm.relu says whether a ReLU follows). */
mt_tensor *mt_conv2d_batch_norm(mt_tensor *input, mt_tensor *conv_weight, mt_tensor *conv_bias, mt_conv2d_params conv,
                                mt_tensor *weight, mt_tensor *bias, mt_tensor *running_mean, mt_tensor *running_var,
                                mt_batch_norm_params norm);

#endif
