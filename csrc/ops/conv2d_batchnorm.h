/* Convolution and batch normalisation (and ReLU, and a residual) as one operation: the same values and gradients as
 * mt_batch_norm(mt_conv2d(...)), up to rounding, with fewer passes over memory.
 *
 * Where that can run it, a chain of one stage (conv/chain.h). Else evaluation folds the normalisation into the
 * convolution's weights and bias, and training takes one operation after the other. */
#ifndef MT_OPS_CONV2D_BATCHNORM_H
#define MT_OPS_CONV2D_BATCHNORM_H

#include "conv/chain.h"
#include "ops/batchnorm.h"
#include "ops/conv2d.h"

/* input (N,H,W,I), conv_weight (kH,kW,I,O), conv_bias (O) or NULL; weight, bias, running_mean, running_var (O):
 * the normalisation's. conv.relu must be false (norm.relu says whether a ReLU follows). */
mt_tensor *mt_conv2d_batch_norm(mt_tensor *input, mt_tensor *conv_weight, mt_tensor *conv_bias, mt_conv2d_params conv,
                                mt_tensor *weight, mt_tensor *bias, mt_tensor *running_mean, mt_tensor *running_var,
                                mt_batch_norm_params norm);

/* The convolution as the stage of a chain; normalisation, ReLU and the rest are the caller's. */
mt_conv_stage mt_conv2d_stage(mt_tensor *weight, mt_tensor *bias, const mt_conv2d_params *p);

#endif
