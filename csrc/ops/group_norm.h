/* Normalisation within each sample: over groups of channels (Wu and He 2018), over single channels (instance norm,
 * Ulyanov et al. 2016) or over the last axes (layer norm, Ba et al. 2016).
 *
 * output = (input - mean) / sqrt(var + eps) * weight + bias, mean and biased variance of each sample's group. weight
 * and bias may be NULL: 1 and 0. Statistics are gathered in double precision; training and evaluation are alike.
 * Gradients for whichever of input, weight and bias need one. Errors: dtypes, shapes. */
#ifndef MT_OPS_GROUP_NORM_H
#define MT_OPS_GROUP_NORM_H

#include "core/tensor.h"

/* input (N,...,C), weight and bias (C); groups divides C, group g has the channels g C/groups ... . */
mt_tensor *mt_group_norm(mt_tensor *input, int64_t groups, mt_tensor *weight, mt_tensor *bias, double eps);

/* input (N,...,C) with more than one position in `...`: a group for every channel. */
mt_tensor *mt_instance_norm(mt_tensor *input, mt_tensor *weight, mt_tensor *bias, double eps);

/* The last ndim axes of the input are `shape`, and so are weight's and bias's. ndim >= 1. */
mt_tensor *mt_layer_norm(mt_tensor *input, int ndim, const int64_t *shape, mt_tensor *weight, mt_tensor *bias,
                         double eps);

#endif
