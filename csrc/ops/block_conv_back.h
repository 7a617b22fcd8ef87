/* From the gradient of a block convolution's output (ops/block_conv.h) to that of its input: with stride 1 one block
 * convolution with the kernel turned around, else a small direct one for each phase of the stride (ops/conv_phase.h).
 */
#ifndef MT_OPS_BLOCK_CONV_BACK_H
#define MT_OPS_BLOCK_CONV_BACK_H

#include "ops/block_conv.h"

typedef struct {
  int64_t grad_h, grad_w, grad_c; /* of a padded image of the output's gradient */
  int64_t border[2];              /* rows above and columns left of the gradient itself */
  int64_t in_h, in_w, in_c;       /* of the input, without padding */
  int64_t kernel[2], stride[2], padding[2];
  bool needed;        /* false: only the padded size is used, for the gradient of the weights */
  mt_block_conv conv; /* stride 1 */
} mt_block_conv_back;

/* `in_size` and `padding` are those of the forward convolution's input. The padded gradient also reaches as far as
 * mt_block_conv_weight_grad wants it. */
mt_block_conv_back mt_block_conv_back_plan(const mt_block_conv *forward, const int64_t in_size[2],
                                           const int64_t padding[2], bool needed);

static inline int64_t mt_block_conv_back_count(const mt_block_conv_back *b) {
  return b->grad_h * b->grad_w * b->grad_c;
}
int64_t mt_block_conv_back_weight_floats(const mt_block_conv_back *b);
int64_t mt_block_conv_back_scratch_floats(const mt_block_conv_back *b);
static inline int64_t mt_block_conv_back_group(const mt_block_conv_back *b) { return b->needed ? b->conv.group : 1; }

/* weight: kH,kW,I,O of the forward convolution. Runs on all threads. Returns -1 when there is no memory. */
int mt_block_conv_back_prepare(const mt_block_conv_back *b, const float *weight, float *prepared);

/* `images` padded gradients, contiguous, to as many gradients of the input, contiguous too. */
void mt_block_conv_back_run(const mt_block_conv_back *b, int64_t images, const float *grads, const float *prepared,
                            float *grad_inputs, float *scratch);

#endif
