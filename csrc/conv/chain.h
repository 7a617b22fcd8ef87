/* A chain of stages, each convolution -> batch normalisation -> ReLU -> max pooling, as one operation.
 *
 * Values and gradients are those of the separate operations, up to rounding. What it saves is memory traffic: only the
 * convolutions' outputs are ever stored. Normalisation, ReLU and pooling are redone on one image at a time, into a
 * padded scratch image that stays in the core's own cache, where the next convolution (or, on the way back, the
 * gradient of the weights) reads it. The batch's statistics are gathered from each image right after the convolution
 * wrote it, and the sums that batch normalisation's backward needs right after the gradient was written.
 *
 * At the end of a bottleneck even that output, the largest of the block, is made again from the small one before it.
 *
 * In evaluation nothing is stored at all but the last output: a few images go through all stages, residual blocks among
 * them, in scratch that stays in the core's own cache. Where there are fewer images than threads, these share each
 * stage.
 *
 * One parallel region per stage and direction. On the way back each thread owns a fixed, contiguous part of the batch.
 */
#ifndef MT_CONV_CHAIN_H
#define MT_CONV_CHAIN_H

#include "conv/folded.h"
#include "conv/statistics.h"

#define MT_CHAIN_MAX_STAGES 32

typedef struct {
  mt_tensor *weight;                         /* kH,kW,I/groups,O */
  mt_tensor *bias;                           /* O, or NULL */
  int64_t stride[2], padding[2], surplus[2]; /* height, width; surplus: how much more padding on the far side */
  bool same;                                 /* padding and surplus are what mt_conv_pad_same gives */
  int64_t dilation[2], groups;
  mt_norm norm; /* over O */
  bool relu;
  float limit;       /* of the ReLU: 6 for ReLU6; 0: none */
  int64_t pool;      /* window and stride of a max pooling at the stage's end; 1: none */
  int block_stages;  /* n: ends a residual block of n stages, whose input is added before the ReLU; 0: none. Only in
                        evaluation, and without pooling at its end */
  mt_folded *folded; /* where evaluation of a few images keeps the folded weights from one call to the next; or NULL */
} mt_conv_stage;

/* Whether mt_chain can run this: float32 images, in training at least one for each thread, convolutions in one group or
 * with one output for each channel, without dilation, and in evaluation no gradients wanted. Otherwise the caller uses
 * the separate operations. Sets no error. */
bool mt_chain_fits(const mt_tensor *input, const mt_conv_stage *stages, int count, const mt_tensor *residual,
                   bool training);

/* input (N,H,W,I) -> the last stage's output; residual (NULL: none) has the last stage's shape before its pooling and
 * is added before its ReLU, if it has one; then it may not pool. Errors: shapes that do not fit together. */
mt_tensor *mt_chain(mt_tensor *input, const mt_conv_stage *stages, int count, mt_tensor *residual, bool training);

#endif
