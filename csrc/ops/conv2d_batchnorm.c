/* Convolution and batch norm together. In training the pair is recorded as two operations, whose backward passes are
 * the ordinary ones; only forward differs, in that the statistics come from the convolution's strips. In evaluation
 * relu(conv(x, w) * scale + shift) = relu(conv(x, w * scale) + shift): one convolution with folded weights, unless
 * gradients of the parameters are wanted. */
#include "ops/conv2d_batchnorm.h"

#include "autograd/tape.h"
#include "core/memory.h"
#include "ops/batchnorm_internal.h"
#include "ops/conv2d_internal.h"

typedef struct {
  mt_tensor *input, *conv_weight, *conv_bias;
  mt_conv2d_params conv;
  mt_tensor *weight, *bias, *running_mean, *running_var;
  mt_batch_norm_params norm;
  int64_t out_shape[4];
} pair;

/* ---- training ---- */

typedef struct {
  int64_t strips, rows, width;
} strip_context;

static int64_t strip_pixels(const void *context, int64_t block) {
  const strip_context *c = context;
  const int64_t strip = block % c->strips;
  return (c->rows * (strip + 1) / c->strips - c->rows * strip / c->strips) * c->width;
}

static mt_tensor *train(const pair *q) {
  mt_correlation c = mt_conv2d_correlation(q->input, q->conv_weight, q->conv_bias, &q->conv, q->out_shape);
  const strip_context strips = {mt_correlate_strips(&c), q->out_shape[1], q->out_shape[2]};
  mt_moments moments = {.blocks = c.images * strips.strips, .pixels = strip_pixels, .context = &strips};
  moments.values = mt_alloc((size_t)(moments.blocks * 3 * q->out_shape[3]) * sizeof(float));
  if (!moments.values) return NULL;
  c.strip_moments = moments.values;
  mt_tensor *z = mt_conv2d_recorded(mt_conv2d_compute(&c, q->conv_weight, q->out_shape), q->input, q->conv_weight,
                                    q->conv_bias, &q->conv);
  mt_tensor *y =
      z ? mt_batch_norm_with(z, q->weight, q->bias, q->running_mean, q->running_var, q->norm, &moments) : NULL;
  mt_release(z);
  mt_free(moments.values);
  return y;
}

/* ---- evaluation ---- */

static bool foldable(const pair *q) {
  if (mt_needs_grad(q->conv_weight) || mt_needs_grad(q->conv_bias) || mt_needs_grad(q->weight) ||
      mt_needs_grad(q->bias))
    return false;
  /* The folded convolution's backward knows no residual. */
  return !q->norm.residual || !(mt_needs_grad(q->input) || mt_needs_grad(q->norm.residual));
}

/* conv_weight * scale and conv_bias * scale + shift; `scale_shift` is {2,O}. */
static void fold(const pair *q, const float *scale_shift, float *weight, float *bias) {
  const int64_t channels = q->out_shape[3];
  const float *w = mt_f32(q->conv_weight), *scale = scale_shift, *shift = scale_shift + channels;
  for (int64_t i = 0; i < q->conv_weight->count; i += channels)
    for (int64_t o = 0; o < channels; o++) weight[i + o] = w[i + o] * scale[o];
  for (int64_t o = 0; o < channels; o++)
    bias[o] = (q->conv_bias ? mt_f32(q->conv_bias)[o] * scale[o] : 0.0f) + shift[o];
}

static mt_tensor *evaluate(const pair *q) {
  const int64_t channels = q->out_shape[3];
  mt_tensor *weight = mt_tensor_like(q->conv_weight), *bias = mt_tensor_like(q->bias), *output = NULL;
  float *scale_shift = mt_alloc((size_t)(2 * channels) * sizeof(float));
  if (weight && bias && scale_shift) {
    mt_conv2d_params conv = q->conv;
    conv.relu = q->norm.relu;
    mt_batch_norm_fold(q->weight, q->bias, q->running_mean, q->running_var, q->norm.eps, scale_shift,
                       scale_shift + channels);
    fold(q, scale_shift, mt_f32(weight), mt_f32(bias));
    mt_correlation c = mt_conv2d_correlation(q->input, weight, bias, &conv, q->out_shape);
    c.residual = q->norm.residual ? mt_f32(q->norm.residual) : NULL;
    output = mt_conv2d_recorded(mt_conv2d_compute(&c, weight, q->out_shape), q->input, weight, bias, &conv);
  }
  mt_free(scale_shift);
  mt_release(weight);
  mt_release(bias);
  return output;
}

static mt_tensor *separately(const pair *q) {
  mt_tensor *z = mt_conv2d(q->input, q->conv_weight, q->conv_bias, q->conv);
  mt_tensor *y = z ? mt_batch_norm_with(z, q->weight, q->bias, q->running_mean, q->running_var, q->norm, NULL) : NULL;
  mt_release(z);
  return y;
}

mt_tensor *mt_conv2d_batch_norm(mt_tensor *input, mt_tensor *conv_weight, mt_tensor *conv_bias, mt_conv2d_params conv,
                                mt_tensor *weight, mt_tensor *bias, mt_tensor *running_mean, mt_tensor *running_var,
                                mt_batch_norm_params norm) {
  pair q = {input, conv_weight, conv_bias, conv, weight, bias, running_mean, running_var, norm, {0}};
  if (mt_conv2d_check(input, conv_weight, conv_bias, &conv, q.out_shape) < 0 ||
      mt_batch_norm_check(4, q.out_shape, weight, bias, running_mean, running_var, &norm) < 0)
    return NULL;
  if (norm.training) return train(&q);
  return foldable(&q) ? evaluate(&q) : separately(&q);
}
