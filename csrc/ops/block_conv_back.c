#include "ops/block_conv_back.h"

#include "core/threads.h"
#include "kernels/kernels.h"
#include "ops/conv_phase.h"
#include "ops/correlate.h"

static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

static bool strided(const mt_block_conv_back *b) { return b->stride[0] > 1 || b->stride[1] > 1; }

static mt_conv_phase phase_of(const mt_block_conv_back *b, int axis, int64_t first) {
  return mt_conv_phase_of(first, axis ? b->in_w : b->in_h, b->kernel[axis], b->stride[axis], b->padding[axis]);
}

/* How far the phases reach before and beyond the gradient's `out` coordinates along an axis. */
static void phase_reach(const mt_block_conv_back *b, int axis, int64_t out, int64_t *before, int64_t *end) {
  const int64_t size = axis ? b->in_w : b->in_h;
  *before = 0;
  *end = out;
  for (int64_t first = 0; first < min64(b->stride[axis], size); first++) {
    const mt_conv_phase p = phase_of(b, axis, first);
    if (p.taps == 0) continue;
    *before = max64(*before, -p.origin);
    *end = max64(*end, p.origin + p.count - 1 + p.taps);
  }
}

mt_block_conv_back mt_block_conv_back_plan(const mt_block_conv *forward, const int64_t in_size[2],
                                           const int64_t padding[2], bool needed) {
  const int64_t out[2] = {forward->out_h, forward->out_w};
  mt_block_conv_back b = {.grad_c = forward->out_c,
                          .in_h = in_size[0],
                          .in_w = in_size[1],
                          .in_c = forward->in_c,
                          .kernel = {forward->kernel[0], forward->kernel[1]},
                          .stride = {forward->stride[0], forward->stride[1]},
                          .padding = {padding[0], padding[1]},
                          .needed = needed,
                          .conv = {.group = 1}};
  int64_t end[2] = {out[0], out[1]}, size[2];
  for (int i = 0; i < 2 && needed; i++) phase_reach(&b, i, out[i], &b.border[i], &end[i]);
  for (int i = 0; i < 2; i++) size[i] = b.border[i] + max64(end[i], mt_block_conv_grad_extent(forward, i));
  if (needed && !strided(&b)) {
    b.conv = mt_block_conv_plan(b.kernel, b.stride, size, b.grad_c, in_size, b.in_c);
    size[0] = b.conv.in_h;
    size[1] = b.conv.in_w;
  }
  b.grad_h = size[0];
  b.grad_w = size[1];
  return b;
}

/* ---- phases ---- */

static int64_t phases_along(const mt_block_conv_back *b, int axis) {
  return min64(b->stride[axis], axis ? b->in_w : b->in_h);
}

/* Every phase has room for as many taps as the one with most. */
static int64_t phase_floats(const mt_block_conv_back *b) {
  const int64_t taps_h = (b->kernel[0] + b->stride[0] - 1) / b->stride[0];
  const int64_t taps_w = (b->kernel[1] + b->stride[1] - 1) / b->stride[1];
  return mt_packed_floats(taps_h * taps_w * b->grad_c, b->in_c);
}

typedef struct {
  const mt_block_conv_back *back;
  const float *weight;
  float *prepared;
} preparation;

static void prepare_range(const void *context, int64_t begin, int64_t end) {
  const preparation *p = context;
  const mt_block_conv_back *b = p->back;
  const mt_phase_weights w = {
      p->weight, {b->kernel[0], b->kernel[1]}, {b->stride[0], b->stride[1]}, b->in_c, b->grad_c};
  for (int64_t i = begin; i < end; i++) {
    const mt_conv_phase axes[2] = {phase_of(b, 0, i / phases_along(b, 1)), phase_of(b, 1, i % phases_along(b, 1))};
    if (axes[0].taps > 0 && axes[1].taps > 0) mt_conv_phase_pack(&w, axes, p->prepared + i * phase_floats(b));
  }
}

static void prepare_phases(const mt_block_conv_back *b, const float *weight, float *prepared) {
  const int64_t count = phases_along(b, 0) * phases_along(b, 1);
  mt_parallel(count, mt_chunk(count, phase_floats(b), 1 << 13), prepare_range, &(preparation){b, weight, prepared});
}

/* Input coordinates that meet no tap get a convolution without taps: zeros. */
static void run_phase(const mt_block_conv_back *b, int64_t y, int64_t x, const float *grad, const float *weights,
                      float *grad_input) {
  const mt_conv_phase down = phase_of(b, 0, y), along = phase_of(b, 1, x);
  const bool touched = down.taps > 0 && along.taps > 0;
  const int64_t row = b->grad_w * b->grad_c;
  const mt_conv2d_block block = {
      .in = touched ? grad + (b->border[0] + down.origin) * row + (b->border[1] + along.origin) * b->grad_c : grad,
      .in_kernel_row = row,
      .in_pixel = b->grad_c,
      .in_row = row,
      .kernel_rows = touched ? down.taps : 0,
      .run = touched ? along.taps * b->grad_c : 0,
      .weights = weights,
      .out = grad_input + (y * b->in_w + x) * b->in_c,
      .out_pixel = b->stride[1] * b->in_c,
      .out_row = b->stride[0] * b->in_w * b->in_c,
      .rows = down.count,
      .width = along.count,
      .channels = b->in_c};
  mt_kernels->conv2d_forward(&block);
}

static void run_phases(const mt_block_conv_back *b, const float *grad, const float *prepared, float *grad_input) {
  for (int64_t y = 0; y < phases_along(b, 0); y++)
    for (int64_t x = 0; x < phases_along(b, 1); x++, prepared += phase_floats(b))
      run_phase(b, y, x, grad, prepared, grad_input);
}

/* ---- both ---- */

int64_t mt_block_conv_back_weight_floats(const mt_block_conv_back *b) {
  if (!strided(b)) return mt_block_conv_weight_floats(&b->conv);
  return phases_along(b, 0) * phases_along(b, 1) * phase_floats(b);
}

int64_t mt_block_conv_back_scratch_floats(const mt_block_conv_back *b) {
  return b->needed && !strided(b) ? mt_block_conv_scratch_floats(&b->conv) : 0;
}

int mt_block_conv_back_prepare(const mt_block_conv_back *b, const float *weight, float *prepared) {
  if (!strided(b)) return mt_block_conv_prepare(&b->conv, weight, true, prepared);
  prepare_phases(b, weight, prepared);
  return 0;
}

void mt_block_conv_back_run(const mt_block_conv_back *b, int64_t images, const float *grads, const float *prepared,
                            float *grad_inputs, float *scratch) {
  const int64_t in_count = b->in_h * b->in_w * b->in_c;
  if (strided(b)) {
    for (int64_t n = 0; n < images; n++)
      run_phases(b, grads + n * mt_block_conv_back_count(b), prepared, grad_inputs + n * in_count);
    return;
  }
  const mt_block_conv_call call = {.images = images,
                                   .in = grads,
                                   .in_image = mt_block_conv_back_count(b),
                                   .weights = prepared,
                                   .out = grad_inputs,
                                   .out_row = b->in_w * b->in_c,
                                   .out_image = in_count,
                                   .scratch = scratch};
  mt_block_conv_run(&b->conv, &call);
}
