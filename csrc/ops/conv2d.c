/* Convolution. Forward is one correlation (ops/correlate.h). The gradient for the input is one correlation of the
 * output's gradient per phase of the stride (ops/conv_phase.h): for stride 1 one convolution with the flipped kernel.
 * The gradient for the weights is in ops/conv2d_weight_grad.c. Where Winograd pays, all three go through
 * ops/conv2d_blocks.c instead; with groups or dilation through ops/conv2d_grouped.c. */
#include "ops/conv2d.h"

#include "autograd/tape.h"
#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "ops/conv2d_blocks.h"
#include "ops/conv2d_grouped.h"
#include "ops/conv2d_internal.h"
#include "ops/conv_phase.h"
#include "ops/correlate.h"

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

static float *pack(const mt_tensor *weight) {
  const int64_t channels = weight->shape[3], rows = weight->count / (channels > 0 ? channels : 1);
  float *packed = mt_alloc((size_t)mt_packed_floats(rows, channels) * sizeof(float));
  if (packed) mt_kernels->conv2d_pack(mt_f32(weight), rows, channels, channels, 1, 0, rows, packed);
  return packed;
}

mt_correlation mt_conv2d_correlation(const mt_tensor *input, const mt_tensor *weight, const mt_tensor *bias,
                                     const mt_conv2d_params *p, const int64_t out_shape[4]) {
  return (mt_correlation){
      .input = mt_f32(input),
      .images = input->shape[0],
      .in_size = {input->shape[1], input->shape[2]},
      .in_channels = input->shape[3],
      .kernel = {weight->shape[0], weight->shape[1]},
      .stride = {p->stride[0], p->stride[1]},
      .origin = {-p->padding[0], -p->padding[1]},
      .bias = bias ? mt_f32(bias) : NULL,
      .relu = p->relu,
      .out_size = {out_shape[1], out_shape[2]},
      .out_channels = out_shape[3],
      .out_image = out_shape[1] * out_shape[2] * out_shape[3],
      .out_row = out_shape[2] * out_shape[3],
      .out_pixel = out_shape[3],
  };
}

static int correlate_packed(mt_correlation *c, const mt_tensor *weight) {
  float *packed = pack(weight);
  c->weights = packed;
  const int status = packed ? mt_correlate(c) : -1;
  mt_free(packed);
  return status;
}

mt_tensor *mt_conv2d_compute(mt_correlation *c, const mt_tensor *weight, const int64_t out_shape[4]) {
  const int64_t input[4] = {c->images, c->in_size[0], c->in_size[1], c->in_channels};
  const mt_conv2d_params p = {.stride = {c->stride[0], c->stride[1]}, .padding = {-c->origin[0], -c->origin[1]}};
  mt_block_conv plan;
  mt_tensor *output = mt_tensor_new(MT_FLOAT32, 4, out_shape);
  if (!output) return NULL;
  c->output = mt_f32(output);
  const bool by_blocks = !c->strip_moments && mt_conv2d_blocks_plan(input, weight->shape, &p, &plan) &&
                         plan.out_h == out_shape[1] && plan.out_w == out_shape[2]; /* padded evenly */
  if ((by_blocks ? mt_conv2d_blocks_forward(&plan, c, mt_f32(weight)) : correlate_packed(c, weight)) == 0)
    return output;
  mt_release(output);
  return NULL;
}

/* ---- backward ---- */

/* The input coordinates (first[0] + any * stride[0], first[1] + any * stride[1]). */
static int grad_input_phase(const mt_tensor *grad_output, const mt_tensor *weight, const mt_conv2d_params *p,
                            const int64_t first[2], float *packed, mt_tensor *grad_input) {
  const int64_t *in = grad_input->shape;
  mt_conv_phase axes[2];
  for (int i = 0; i < 2; i++)
    axes[i] = mt_conv_phase_of(first[i], in[1 + i], weight->shape[i], p->stride[i], p->padding[i]);
  const bool touched = axes[0].taps > 0 && axes[1].taps > 0; /* else these inputs meet no tap: zeros */
  const mt_phase_weights w = {mt_f32(weight),
                              {weight->shape[0], weight->shape[1]},
                              {p->stride[0], p->stride[1]},
                              weight->shape[2],
                              weight->shape[3]};
  if (touched) mt_conv_phase_pack(&w, axes, packed);
  const mt_correlation c = {
      .input = mt_f32(grad_output),
      .images = grad_output->shape[0],
      .in_size = {grad_output->shape[1], grad_output->shape[2]},
      .in_channels = touched ? grad_output->shape[3] : 0,
      .kernel = {touched ? axes[0].taps : 0, touched ? axes[1].taps : 0},
      .stride = {1, 1},
      .origin = {touched ? axes[0].origin : 0, touched ? axes[1].origin : 0},
      .weights = packed,
      .output = mt_f32(grad_input) + (first[0] * in[2] + first[1]) * in[3],
      .out_size = {axes[0].count, axes[1].count},
      .out_channels = in[3],
      .out_image = in[1] * in[2] * in[3],
      .out_row = p->stride[0] * in[2] * in[3],
      .out_pixel = p->stride[1] * in[3],
  };
  return mt_correlate(&c);
}

static int fill_grad_input(const mt_tensor *grad_output, const mt_tensor *weight, const mt_conv2d_params *p,
                           mt_tensor *result) {
  const int64_t taps = weight->shape[0] * weight->shape[1], *in_shape = result->shape; /* no phase has more taps */
  float *packed = mt_alloc((size_t)mt_packed_floats(taps * weight->shape[3], weight->shape[2]) * sizeof(float));
  int status = packed ? 0 : -1;
  for (int64_t y = 0; status == 0 && y < p->stride[0] && y < in_shape[1]; y++)
    for (int64_t x = 0; status == 0 && x < p->stride[1] && x < in_shape[2]; x++)
      status = grad_input_phase(grad_output, weight, p, (const int64_t[2]){y, x}, packed, result);
  mt_free(packed);
  return status;
}

typedef struct {
  const float *grad, *output;
  float *masked;
} relu_mask;

static void mask_range(const void *context, int64_t begin, int64_t end) {
  const relu_mask *m = context;
  for (int64_t i = begin; i < end; i++) m->masked[i] = m->output[i] <= 0.0f ? 0.0f : m->grad[i];
}

/* grad where the ReLU let the output through. */
static mt_tensor *through_relu(const mt_tensor *grad_output, const mt_tensor *output) {
  mt_tensor *masked = mt_tensor_like(grad_output);
  if (!masked) return NULL;
  mt_parallel(masked->count, mt_chunk(masked->count, 1, 1 << 15), mask_range,
              &(relu_mask){mt_f32(grad_output), mt_f32(output), mt_f32(masked)});
  return masked;
}

typedef struct {
  mt_conv2d_params params;
  int64_t in_shape[4], weight_shape[4];
} conv2d_context;

enum { INPUT, WEIGHT, BIAS, INPUTS };
enum { SAVED_INPUT, SAVED_WEIGHT, SAVED_OUTPUT, SAVED };

static int fill_grads(const mt_node *node, const mt_tensor *g, mt_tensor **grads) {
  const conv2d_context *c = node->context;
  const mt_tensor *input = node->saved[SAVED_INPUT], *weight = node->saved[SAVED_WEIGHT];
  mt_block_conv plan;
  if (node->needs[INPUT] && !(grads[INPUT] = mt_tensor_new(MT_FLOAT32, 4, c->in_shape))) return -1;
  if (node->needs[WEIGHT] && !(grads[WEIGHT] = mt_tensor_new(MT_FLOAT32, 4, c->weight_shape))) return -1;
  if (node->needs[BIAS] && !(grads[BIAS] = mt_tensor_new(MT_FLOAT32, 1, &c->weight_shape[3]))) return -1;
  const bool grouped = mt_conv2d_is_grouped(&c->params);
  const bool by_blocks = !grouped && mt_conv2d_blocks_plan(c->in_shape, c->weight_shape, &c->params, &plan);
  if (grouped) {
    if (mt_conv2d_grouped_backward(input, weight, g, &c->params, grads[INPUT], grads[WEIGHT]) < 0) return -1;
  } else if (by_blocks) {
    if (mt_conv2d_blocks_backward(&plan, &c->params, input, weight, g, grads[INPUT], grads[WEIGHT]) < 0) return -1;
  } else if (grads[INPUT] && fill_grad_input(g, weight, &c->params, grads[INPUT]) < 0) {
    return -1;
  }
  mt_tensor *grad_weight = grouped || by_blocks ? NULL : grads[WEIGHT];
  if (!grad_weight && !grads[BIAS]) return 0;
  return mt_conv2d_weight_grad(input, g, &c->params, c->weight_shape, grad_weight, grads[BIAS]);
}

static int conv2d_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const conv2d_context *c = node->context;
  if (!c->params.relu) return fill_grads(node, grad_output, grads);
  mt_tensor *masked = through_relu(grad_output, node->saved[SAVED_OUTPUT]);
  const int status = masked ? fill_grads(node, masked, grads) : -1;
  mt_release(masked);
  return status;
}

static const mt_op conv2d_op = {.name = "conv2d", .backward = conv2d_backward};

mt_tensor *mt_conv2d_recorded(mt_tensor *output, mt_tensor *input, mt_tensor *weight, mt_tensor *bias,
                              const mt_conv2d_params *p) {
  conv2d_context context = {.params = *p};
  for (int i = 0; i < 4; i++) {
    context.in_shape[i] = input->shape[i];
    context.weight_shape[i] = weight->shape[i];
  }
  mt_tensor *saved[SAVED] = {
      [SAVED_INPUT] = mt_needs_grad(weight) ? input : NULL,
      [SAVED_WEIGHT] = mt_needs_grad(input) ? weight : NULL,
      [SAVED_OUTPUT] = p->relu ? output : NULL,
  };
  return mt_recorded(output, &conv2d_op, INPUTS, (mt_tensor *[INPUTS]){input, weight, bias}, SAVED, saved, &context,
                     sizeof context);
}

mt_tensor *mt_conv2d(mt_tensor *input, mt_tensor *weight, mt_tensor *bias, mt_conv2d_params p) {
  int64_t out_shape[4];
  if (mt_conv2d_check(input, weight, bias, &p, out_shape) < 0) return NULL;
  if (mt_conv2d_is_grouped(&p))
    return mt_conv2d_recorded(mt_conv2d_grouped(input, weight, bias, &p, out_shape), input, weight, bias, &p);
  mt_correlation c = mt_conv2d_correlation(input, weight, bias, &p, out_shape);
  return mt_conv2d_recorded(mt_conv2d_compute(&c, weight, out_shape), input, weight, bias, &p);
}
