#include "ops/conv2d_batchnorm.h"

#include "autograd/tape.h"
#include "conv/chain.h"
#include "ops/conv2d_grouped.h"

typedef struct {
  mt_tensor *input;
  mt_conv_stage stage;
  mt_tensor *residual;
} pair;

/* Evaluation: relu(conv(x, w) * scale + shift) = relu(conv(x, w * scale) + shift), one convolution with folded weights,
 * unless gradients of the parameters are wanted. Its backward knows no residual, nor do groups and dilation. */
static bool foldable(const pair *q) {
  const mt_conv_stage *s = &q->stage;
  if (mt_needs_grad(s->weight) || mt_needs_grad(s->bias) || mt_needs_grad(s->norm.gamma) || mt_needs_grad(s->norm.beta))
    return false;
  if (q->residual && mt_conv2d_is_grouped(&s->conv)) return false;
  return !q->residual || !(mt_needs_grad(q->input) || mt_needs_grad(q->residual));
}

static mt_tensor *folded(const pair *q) {
  const mt_conv_stage *s = &q->stage;
  const int64_t channels = s->weight->shape[3];
  mt_tensor *weight = mt_tensor_like(s->weight), *bias = mt_tensor_like(s->norm.beta), *output = NULL;
  if (weight && bias) {
    mt_fold(&s->norm, mt_f32(s->weight), channels > 0 ? s->weight->count / channels : 0,
            s->bias ? mt_f32(s->bias) : NULL, mt_f32(weight), mt_f32(bias));
    mt_conv2d_params p = s->conv;
    p.relu = s->relu;
    output = mt_conv2d_added(q->input, weight, bias, p, q->residual);
  }
  mt_release(weight);
  mt_release(bias);
  return output;
}

static mt_tensor *separately(const pair *q, mt_batch_norm_params p) {
  const mt_norm *n = &q->stage.norm;
  mt_tensor *z = mt_conv2d(q->input, q->stage.weight, q->stage.bias, q->stage.conv);
  mt_tensor *y = z ? mt_batch_norm(z, n->gamma, n->beta, n->running_mean, n->running_var, p) : NULL;
  mt_release(z);
  return y;
}

mt_tensor *mt_conv2d_batch_norm(mt_tensor *input, mt_tensor *conv_weight, mt_tensor *conv_bias, mt_conv2d_params conv,
                                mt_tensor *weight, mt_tensor *bias, mt_tensor *running_mean, mt_tensor *running_var,
                                mt_batch_norm_params p) {
  int64_t out_shape[4];
  if (mt_conv2d_check(input, conv_weight, conv_bias, &conv, out_shape) < 0 ||
      mt_batch_norm_check(4, out_shape, weight, bias, running_mean, running_var, &p) < 0)
    return NULL;
  const mt_norm norm = {weight, bias, running_mean, running_var, p.momentum, p.eps};
  const pair q = {input,
                  {.weight = conv_weight, .bias = conv_bias, .conv = conv, .norm = norm, .relu = p.relu, .pool = 1},
                  p.residual};
  if (mt_chain_fits(input, &q.stage, 1, p.residual, p.training))
    return mt_chain(input, &q.stage, 1, p.residual, p.training);
  return !p.training && foldable(&q) ? folded(&q) : separately(&q, p);
}
