/* What running a convolution or a batch normalisation as part of a larger operation takes. */
#ifndef MT_NN_NORM_H
#define MT_NN_NORM_H

#include "conv/statistics.h"
#include "nn/module.h"
#include "ops/batchnorm.h"
#include "ops/conv2d.h"

mt_conv2d_params mt_conv2d_params_of(const mt_module *conv);
bool mt_conv2d_is_same(const mt_module *conv); /* padding and surplus follow from each input (mt_conv2d_pad_same) */
mt_batch_norm_params mt_batch_norm_params_of(const mt_module *norm, mt_tensor *residual, bool relu);
mt_norm mt_norm_of(const mt_module *norm);
/* Counts the batch when training and output is not NULL; returns output. */
mt_tensor *mt_batch_norm_counted(mt_module *norm, mt_tensor *output);

#endif
