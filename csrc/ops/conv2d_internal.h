/* The parts of conv2d that the fused conv2d_batchnorm and the weight gradient share. Not for other files. */
#ifndef MT_OPS_CONV2D_INTERNAL_H
#define MT_OPS_CONV2D_INTERNAL_H

#include "ops/conv2d.h"
#include "ops/correlate.h"

/* Checks everything and fills the output's shape. */
int mt_conv2d_check(const mt_tensor *input, const mt_tensor *weight, const mt_tensor *bias, const mt_conv2d_params *p,
                    int64_t out_shape[4]);

/* What forward does, but for weights and output, which mt_conv2d_compute fills in before running it. */
mt_correlation mt_conv2d_correlation(const mt_tensor *input, const mt_tensor *weight, const mt_tensor *bias,
                                     const mt_conv2d_params *p, const int64_t out_shape[4]);
mt_tensor *mt_conv2d_compute(mt_correlation *c, const mt_tensor *weight, const int64_t out_shape[4]);

/* Ends the operation on the tape; output may be NULL (an error passes through). */
mt_tensor *mt_conv2d_recorded(mt_tensor *output, mt_tensor *input, mt_tensor *weight, mt_tensor *bias,
                              const mt_conv2d_params *p);

/* Fills grad_weight (kH,kW,I,O) and grad_bias (O); either may be NULL, input too where grad_weight is. */
int mt_conv2d_weight_grad(const mt_tensor *input, const mt_tensor *grad_output, const mt_conv2d_params *p,
                          const int64_t weight_shape[4], mt_tensor *grad_weight, mt_tensor *grad_bias);

#endif
