/* Convolution: forward, one convolution over the batch (conv/batch.h); the gradient of the input, one for each phase of
 * the stride (conv/input_grad.h), with stride 1 that is one with the kernel turned around; the gradient of the weights.
 * With groups or dilation all three are in ops/conv2d_grouped.c. */
#include "ops/conv2d.h"

#include <string.h>

#include "autograd/tape.h"
#include "conv/batch.h"
#include "conv/input_grad.h"
#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "ops/conv2d_grouped.h"

#define MAX_EXTENT ((int64_t)1 << 30) /* of stride and padding: keeps sums of them from overflowing */

void mt_conv2d_pad_same(mt_conv2d_params *p, const int64_t size[2], const int64_t kernel[2]) {
  for (int i = 0; i < 2; i++) {
    if (p->stride[i] < 1 || p->dilation[i] > MAX_EXTENT || kernel[i] > MAX_EXTENT) continue; /* refused later */
    const int64_t out = (size[i] + p->stride[i] - 1) / p->stride[i];
    const int64_t total = (out - 1) * p->stride[i] + (kernel[i] - 1) * mt_conv2d_dilation(p, i) + 1 - size[i];
    p->padding[i] = total > 0 ? total / 2 : 0;
    p->surplus[i] = total > 0 ? total % 2 : 0;
  }
}

static int pair_error(const char *name, const int64_t pair[2], const char *expected) {
  return mt_fail(MT_ERROR_ARGUMENT, "conv2d: %s is {%lld,%lld}, expected %s", name, (long long)pair[0],
                 (long long)pair[1], expected);
}

static int check_params(const mt_tensor *input, const mt_tensor *weight, const mt_conv2d_params *p, int64_t out[2]) {
  int64_t padded[2], extent[2]; /* of the kernel, with the pixels it leaves out */
  for (int i = 0; i < 2; i++) {
    if (p->stride[i] < 1 || p->stride[i] > MAX_EXTENT) return pair_error("stride", p->stride, "at least 1");
    if (p->dilation[i] < 0 || p->dilation[i] > MAX_EXTENT) return pair_error("dilation", p->dilation, "at least 1");
    if (p->padding[i] < 0 || p->padding[i] > MAX_EXTENT || p->surplus[i] < -p->padding[i] || p->surplus[i] > MAX_EXTENT)
      return pair_error("padding", p->padding, "at least 0");
    if (weight->shape[i] < 1 || weight->shape[i] > MAX_EXTENT)
      return mt_fail(MT_ERROR_ARGUMENT, "conv2d: weight has a kernel of %lld x %lld, expected at least 1 x 1",
                     (long long)weight->shape[0], (long long)weight->shape[1]);
    padded[i] = input->shape[1 + i] + 2 * p->padding[i] + p->surplus[i];
    extent[i] = (weight->shape[i] - 1) * mt_conv2d_dilation(p, i) + 1;
  }
  if (padded[0] < extent[0] || padded[1] < extent[1])
    return mt_fail(MT_ERROR_ARGUMENT,
                   "conv2d: weight has a kernel of %lld x %lld, expected at most the padded input's %lld x %lld",
                   (long long)extent[0], (long long)extent[1], (long long)padded[0], (long long)padded[1]);
  for (int i = 0; i < 2; i++) out[i] = (padded[i] - extent[i]) / p->stride[i] + 1;
  return 0;
}

static int check_channels(const mt_tensor *input, const mt_tensor *weight, const mt_conv2d_params *p) {
  const int64_t groups = mt_conv2d_groups(p), inputs = input->shape[3], outputs = weight->shape[3];
  if (groups == 1 && inputs != weight->shape[2])
    return mt_fail(MT_ERROR_ARGUMENT, "conv2d: input has %lld channels, expected the weight's %lld%s",
                   (long long)inputs, (long long)weight->shape[2],
                   input->shape[1] == weight->shape[2] ? mt_image_hint(input) : "");
  if (inputs % groups != 0 || outputs % groups != 0)
    return mt_fail(MT_ERROR_ARGUMENT,
                   "conv2d: groups is %lld, expected a divisor of the input's %lld channels and the weight's %lld "
                   "outputs",
                   (long long)groups, (long long)inputs, (long long)outputs);
  if (weight->shape[2] * groups != inputs)
    return mt_fail(MT_ERROR_ARGUMENT,
                   "conv2d: weight has %lld channels, expected %lld (the input's %lld in %lld groups)",
                   (long long)weight->shape[2], (long long)(inputs / groups), (long long)inputs, (long long)groups);
  return 0;
}

int mt_conv2d_check(const mt_tensor *input, const mt_tensor *weight, const mt_tensor *bias, const mt_conv2d_params *p,
                    int64_t out_shape[4]) {
  if (mt_expect_dtype(input, MT_FLOAT32, "conv2d", "input") < 0 ||
      mt_expect_dtype(weight, MT_FLOAT32, "conv2d", "weight") < 0 ||
      mt_expect_ndim(input, 4, "conv2d", "input", "{N,H,W,I}") < 0 ||
      mt_expect_ndim(weight, 4, "conv2d", "weight", "{kH,kW,I,O}") < 0 || check_channels(input, weight, p) < 0)
    return -1;
  if (bias && (mt_expect_dtype(bias, MT_FLOAT32, "conv2d", "bias") < 0 ||
               mt_expect_shape(bias, 1, &weight->shape[3], "conv2d", "bias") < 0))
    return -1;
  out_shape[0] = input->shape[0];
  out_shape[3] = weight->shape[3];
  if (check_params(input, weight, p, out_shape + 1) < 0) return -1;
  return mt_shape_count("conv2d", 4, out_shape) < 0 ? -1 : 0;
}

/* ---- forward ---- */

static mt_conv plan_of(const int64_t input[4], const int64_t weight[4], const mt_conv2d_params *p,
                       const int64_t out[4]) {
  int64_t padded[2];
  for (int i = 0; i < 2; i++) padded[i] = input[1 + i] + 2 * p->padding[i] + p->surplus[i];
  return mt_conv_plan(input[0], weight, p->stride, padded, weight[2], out + 1, weight[3]);
}

static mt_conv_batch batch_of(const mt_conv *conv, const float *input, const int64_t shape[4],
                              const mt_conv2d_params *p) {
  return (mt_conv_batch){.conv = conv,
                         .in = input,
                         .images = shape[0],
                         .in_size = {shape[1], shape[2]},
                         .origin = {-p->padding[0], -p->padding[1]}};
}

/* Prepares the weights, then runs. */
static int prepare_and_run(mt_conv_batch *b, const mt_taps *taps) {
  float *weights = mt_alloc((size_t)mt_conv_weight_floats(b->conv) * sizeof(float));
  int status = weights ? mt_conv_prepare(b->conv, taps, weights) : -1;
  b->weights = weights;
  if (status == 0) status = mt_conv_batch_run(b);
  mt_free(weights);
  return status;
}

static mt_tensor *compute(const mt_tensor *input, const mt_tensor *weight, const mt_tensor *bias,
                          const mt_conv2d_params *p, const mt_tensor *residual, const int64_t out[4]) {
  if (mt_conv2d_is_grouped(p)) return mt_conv2d_grouped(input, weight, bias, p, out);
  const mt_conv conv = plan_of(input->shape, weight->shape, p, out);
  const mt_taps taps = mt_conv_own_taps(&conv, mt_f32(weight));
  mt_conv_batch b = batch_of(&conv, mt_f32(input), input->shape, p);
  mt_tensor *output = mt_tensor_new(MT_FLOAT32, 4, out);
  if (!output) return NULL;
  b.bias = bias ? mt_f32(bias) : NULL;
  b.residual = residual ? mt_f32(residual) : NULL;
  b.relu = p->relu;
  b.out = mt_f32(output);
  b.out_pixel = out[3];
  b.out_row = out[2] * b.out_pixel;
  b.out_image = out[1] * b.out_row;
  if (prepare_and_run(&b, &taps) == 0) return output;
  mt_release(output);
  return NULL;
}

/* ---- backward ---- */

typedef struct {
  mt_conv2d_params params;
  int64_t in_shape[4], weight_shape[4];
} conv2d_context;

static int fill_grad_input(const conv2d_context *c, const mt_tensor *weight, const mt_tensor *grad_output,
                           mt_tensor *grad_input) {
  const int64_t *in = c->in_shape;
  const mt_conv conv = plan_of(in, c->weight_shape, &c->params, grad_output->shape);
  const mt_input_grad plan = mt_input_grad_plan(&conv, in[0], in + 1, c->params.padding, true);
  for (int64_t i = 0; i < mt_input_grad_phases(&plan); i++) {
    const mt_grad_phase p = mt_input_grad_phase(&plan, mt_f32(weight), i);
    mt_conv_batch b = {.conv = &p.conv,
                       .in = mt_f32(grad_output),
                       .images = in[0],
                       .in_size = {conv.out_h, conv.out_w},
                       .origin = {p.origin[0], p.origin[1]},
                       .out = mt_f32(grad_input) + (p.first[0] * in[2] + p.first[1]) * in[3],
                       .out_pixel = c->params.stride[1] * in[3],
                       .out_row = c->params.stride[0] * in[2] * in[3],
                       .out_image = in[1] * in[2] * in[3]};
    if (prepare_and_run(&b, &p.taps) < 0) return -1;
  }
  return 0;
}

static int fill_grad_weight(const conv2d_context *c, const mt_tensor *input, const mt_tensor *grad_output,
                            mt_tensor *grad_weight) {
  const mt_conv conv = plan_of(c->in_shape, c->weight_shape, &c->params, grad_output->shape);
  const mt_conv_batch b = batch_of(&conv, mt_f32(input), c->in_shape, &c->params);
  return mt_conv_batch_weight_grad(&b, mt_f32(grad_output), mt_f32(grad_weight));
}

/* The pixels whose sum a thread makes at a time, in float. */
#define BIAS_PIXELS 256

typedef struct {
  const float *grad;
  int64_t pixels, channels;
  float *sums; /* of each piece */
} bias_work;

static void sum_pieces(const void *context, int64_t begin, int64_t end) {
  const bias_work *w = context;
  for (int64_t i = begin; i < end; i++) {
    const int64_t first = i * BIAS_PIXELS, left = w->pixels - first;
    mt_kernels->channel_sums(w->grad + first * w->channels, left < BIAS_PIXELS ? left : BIAS_PIXELS, w->channels,
                             w->sums + i * w->channels);
  }
}

static int fill_grad_bias(const mt_tensor *grad_output, mt_tensor *grad_bias) {
  const int64_t channels = grad_bias->count, pixels = channels > 0 ? grad_output->count / channels : 0;
  const int64_t pieces = (pixels + BIAS_PIXELS - 1) / BIAS_PIXELS;
  float *sums = mt_alloc((size_t)(pieces * channels) * sizeof(float));
  if (!sums) return -1;
  mt_parallel(pieces, mt_chunk(pieces, BIAS_PIXELS * channels, 1 << 14), sum_pieces,
              &(bias_work){mt_f32(grad_output), pixels, channels, sums});
  for (int64_t c = 0; c < channels; c++) {
    double sum = 0;
    for (int64_t i = 0; i < pieces; i++) sum += (double)sums[i * channels + c];
    mt_f32(grad_bias)[c] = (float)sum;
  }
  mt_free(sums);
  return 0;
}

enum { INPUT, WEIGHT, BIAS, INPUTS };
enum { SAVED_INPUT, SAVED_WEIGHT, SAVED_OUTPUT, SAVED };

static int fill_grads(const mt_node *node, const mt_tensor *g, mt_tensor **grads) {
  const conv2d_context *c = node->context;
  const mt_tensor *input = node->saved[SAVED_INPUT], *weight = node->saved[SAVED_WEIGHT];
  if (node->needs[INPUT] && !(grads[INPUT] = mt_tensor_new(MT_FLOAT32, 4, c->in_shape))) return -1;
  if (node->needs[WEIGHT] && !(grads[WEIGHT] = mt_tensor_new(MT_FLOAT32, 4, c->weight_shape))) return -1;
  if (node->needs[BIAS] && !(grads[BIAS] = mt_tensor_new(MT_FLOAT32, 1, &c->weight_shape[3]))) return -1;
  if (grads[BIAS] && fill_grad_bias(g, grads[BIAS]) < 0) return -1;
  if (mt_conv2d_is_grouped(&c->params))
    return mt_conv2d_grouped_backward(input, weight, g, &c->params, grads[INPUT], grads[WEIGHT]);
  if (grads[INPUT] && fill_grad_input(c, weight, g, grads[INPUT]) < 0) return -1;
  return grads[WEIGHT] ? fill_grad_weight(c, input, g, grads[WEIGHT]) : 0;
}

/* grad where the ReLU let the output through. */
typedef struct {
  const float *grad, *output;
  float *masked;
} relu_mask;

static void mask_range(const void *context, int64_t begin, int64_t end) {
  const relu_mask *m = context;
  mt_kernels->relu_backward(m->masked + begin, m->output + begin, m->grad + begin, end - begin);
}

static int conv2d_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const conv2d_context *c = node->context;
  if (!c->params.relu) return fill_grads(node, grad_output, grads);
  mt_tensor *masked = mt_tensor_like(grad_output);
  if (!masked) return -1;
  mt_parallel(masked->count, mt_chunk(masked->count, 1, 1 << 15), mask_range,
              &(relu_mask){mt_f32(grad_output), mt_f32(node->saved[SAVED_OUTPUT]), mt_f32(masked)});
  const int status = fill_grads(node, masked, grads);
  mt_release(masked);
  return status;
}

static const mt_op conv2d_op = {.name = "conv2d", .backward = conv2d_backward};

/* ---- the operation ---- */

mt_tensor *mt_conv2d_added(mt_tensor *input, mt_tensor *weight, mt_tensor *bias, mt_conv2d_params p,
                           const mt_tensor *residual) {
  int64_t out_shape[4];
  if (mt_conv2d_check(input, weight, bias, &p, out_shape) < 0) return NULL;
  mt_tensor *output = compute(input, weight, bias, &p, residual, out_shape);
  if (!output) return NULL;
  conv2d_context context = {.params = p};
  memcpy(context.in_shape, input->shape, sizeof context.in_shape);
  memcpy(context.weight_shape, weight->shape, sizeof context.weight_shape);
  mt_tensor *saved[SAVED] = {
      [SAVED_INPUT] = mt_needs_grad(weight) ? input : NULL,
      [SAVED_WEIGHT] = mt_needs_grad(input) ? weight : NULL,
      [SAVED_OUTPUT] = p.relu ? output : NULL,
  };
  return mt_recorded(output, &conv2d_op, INPUTS, (mt_tensor *[INPUTS]){input, weight, bias}, SAVED, saved, &context,
                     sizeof context);
}

mt_tensor *mt_conv2d(mt_tensor *input, mt_tensor *weight, mt_tensor *bias, mt_conv2d_params p) {
  return mt_conv2d_added(input, weight, bias, p, NULL);
}
