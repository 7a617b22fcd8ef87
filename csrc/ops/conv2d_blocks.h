/* Convolutions that Winograd makes faster (ops/block_conv.h), over a whole batch: each thread takes a fixed share of
 * the images, a group at a time, through padded copies that stay in cache. */
#ifndef MT_OPS_CONV2D_BLOCKS_H
#define MT_OPS_CONV2D_BLOCKS_H

#include "ops/block_conv.h"
#include "ops/conv2d.h"
#include "ops/correlate.h"

/* Whether a convolution of input (N,H,W,I) with weight (kH,kW,I,O) goes this way; fills *plan then. Does not depend on
 * the number of threads: the two ways differ in rounding. */
bool mt_conv2d_blocks_plan(const int64_t input[4], const int64_t weight[4], const mt_conv2d_params *p,
                           mt_block_conv *plan);

/* Input, bias, ReLU, residual and output as c says; the weight kH,kW,I,O as it is, not c's. -1: no memory. */
int mt_conv2d_blocks_forward(const mt_block_conv *plan, const mt_correlation *c, const float *weight);

/* grad_input and grad_weight may be NULL, input and weight where they are not needed. -1: no memory. */
int mt_conv2d_blocks_backward(const mt_block_conv *plan, const mt_conv2d_params *p, const mt_tensor *input,
                              const mt_tensor *weight, const mt_tensor *grad_output, mt_tensor *grad_input,
                              mt_tensor *grad_weight);

#endif
