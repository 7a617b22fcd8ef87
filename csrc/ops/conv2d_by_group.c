/* The unit of work is one group of one image, in a thread's own scratch; what comes of it belongs to nobody else. Only
 * the weights' gradient is summed in a part for each thread, over its share of the images. */
#include "ops/conv2d_by_group.h"

#include <string.h>

#include "conv/batch.h"
#include "conv/input_grad.h"
#include "core/memory.h"
#include "core/minmax.h"
#include "core/threads.h"

#define PARALLEL_FROM 131072.0 /* multiply-adds */

typedef struct {
  int64_t images, groups, in_size[2], in_channels, out_channels, padding[2];
  mt_conv conv; /* of one group of one image */
  mt_input_grad back;
  int threads;
} geometry;

static geometry geometry_of(const int64_t in[4], const int64_t kernel[4], const int64_t out[4],
                            const mt_conv2d_params *p, bool input_needed) {
  geometry g = {.images = in[0], .groups = mt_conv2d_groups(p), .in_channels = in[3], .out_channels = out[3]};
  int64_t padded[2];
  for (int i = 0; i < 2; i++) {
    g.in_size[i] = in[1 + i];
    g.padding[i] = p->padding[i];
    padded[i] = in[1 + i] + 2 * p->padding[i] + p->surplus[i];
  }
  g.conv = mt_conv_plan(1, kernel, p->stride, padded, kernel[2], out + 1, out[3] / g.groups);
  g.back = mt_input_grad_plan(&g.conv, 1, g.in_size, p->padding, input_needed);
  const double work = (double)(out[0] * out[1] * out[2] * out[3]) * (double)mt_conv_taps(&g.conv);
  g.threads = work < PARALLEL_FROM ? 1 : mt_num_threads();
  return g;
}

static int64_t in_image(const geometry *g) { return g->in_size[0] * g->in_size[1] * g->in_channels; }
static int64_t out_image(const geometry *g) { return g->conv.out_h * g->conv.out_w * g->out_channels; }
static int64_t window_floats(const geometry *g) { return mt_rounded_floats(mt_conv_in_count(&g->conv)); }
static int64_t gradient_floats(const geometry *g) { return mt_rounded_floats(mt_input_grad_count(&g->back)); }

static void over_units(const geometry *g, mt_loop_body *body, const void *pass) {
  const int64_t n = g->images * g->groups;
  const int64_t work = out_image(g) / g->groups * mt_conv_taps(&g->conv);
  mt_parallel(n, g->threads > 1 ? mt_chunk(n, work, (int64_t)PARALLEL_FROM) : n, body, pass);
}

/* ---- weights, kH,kW,I/groups,O, and those of each group, one after the other ---- */

static int64_t weight_rows(const geometry *g) { return mt_conv_taps(&g->conv); }
static int64_t part_floats(const geometry *g) { return weight_rows(g) * g->conv.out_c; }

/* A group's own weights. */
static void take_weights(const geometry *g, const float *weight, int64_t group, float *part) {
  mt_copy_pixels(part, g->conv.out_c, weight + group * g->conv.out_c, g->out_channels, g->conv.out_c, weight_rows(g));
}

static void put_weights(const geometry *g, const float *part, int64_t group, float *weight) {
  mt_copy_pixels(weight + group * g->conv.out_c, g->out_channels, part, g->conv.out_c, g->conv.out_c, weight_rows(g));
}

/* ---- a group's channels ---- */

static void copy_input(const geometry *g, const float *input, int64_t image, int64_t group, float *window) {
  mt_copy_window_of(input + image * in_image(g) + group * g->conv.in_c, g->in_size, g->in_channels, g->conv.in_c,
                    -g->padding[0], g->conv.in_h, -g->padding[1], g->conv.in_w, window);
}

static void copy_gradient(const geometry *g, const float *grad, int64_t image, int64_t group, float *window) {
  const int64_t size[2] = {g->conv.out_h, g->conv.out_w};
  mt_copy_window_of(grad + image * out_image(g) + group * g->conv.out_c, size, g->out_channels, g->conv.out_c,
                    -g->back.border[0], g->back.grad_h, -g->back.border[1], g->back.grad_w, window);
}

/* ---- forward ---- */

typedef struct {
  const geometry *g;
  const float *input, *bias;
  bool relu;
  float *output, *prepared, *scratch;
  int64_t scratch_floats; /* of a thread: the window, then the convolution's own */
} forward_pass;

static void forward_unit(const forward_pass *f, int64_t image, int64_t group, float *scratch) {
  const geometry *g = f->g;
  const mt_conv *c = &g->conv;
  copy_input(g, f->input, image, group, scratch);
  const mt_conv_call call = {.images = 1,
                             .rows = c->out_h,
                             .in = scratch,
                             .in_row = c->in_w * c->in_c,
                             .in_image = mt_conv_in_count(c),
                             .weights = f->prepared + group * mt_conv_weight_floats(c),
                             .bias = f->bias ? f->bias + group * c->out_c : NULL,
                             .relu = f->relu,
                             .out = f->output + image * out_image(g) + group * c->out_c,
                             .out_pixel = g->out_channels,
                             .out_row = c->out_w * g->out_channels,
                             .out_image = out_image(g),
                             .scratch = scratch + window_floats(g)};
  mt_conv_run(c, &call);
}

static void forward_units(const void *context, int64_t begin, int64_t end) {
  const forward_pass *f = context;
  for (int64_t u = begin; u < end; u++)
    forward_unit(f, u / f->g->groups, u % f->g->groups, f->scratch + mt_worker() * f->scratch_floats);
}

static int prepare_forward(const geometry *g, const float *weight, float *part, float *prepared) {
  for (int64_t group = 0; group < g->groups; group++) {
    take_weights(g, weight, group, part);
    const mt_taps taps = mt_conv_own_taps(&g->conv, part);
    if (mt_conv_prepare(&g->conv, &taps, prepared + group * mt_conv_weight_floats(&g->conv)) < 0) return -1;
  }
  return 0;
}

static float *new_floats(int64_t count) { return mt_alloc((size_t)count * sizeof(float)); }

int mt_conv2d_by_group(const mt_tensor *input, const mt_tensor *weight, const mt_tensor *bias,
                       const mt_conv2d_params *p, mt_tensor *output) {
  const geometry g = geometry_of(input->shape, weight->shape, output->shape, p, false);
  forward_pass f = {
      .g = &g, .input = mt_f32(input), .bias = bias ? mt_f32(bias) : NULL, .relu = p->relu, .output = mt_f32(output)};
  f.scratch_floats = window_floats(&g) + mt_rounded_floats(mt_conv_scratch_floats(&g.conv));
  f.prepared = new_floats(g.groups * mt_conv_weight_floats(&g.conv));
  f.scratch = f.prepared ? new_floats(g.threads * f.scratch_floats) : NULL;
  float *part = f.scratch ? new_floats(part_floats(&g)) : NULL;
  const int status = part ? prepare_forward(&g, mt_f32(weight), part, f.prepared) : -1;
  if (status == 0) over_units(&g, forward_units, &f);
  mt_free(part);
  mt_free(f.scratch);
  mt_free(f.prepared);
  return status;
}

/* ---- backward ---- */

typedef struct {
  const geometry *g;
  const float *input, *grad_output;
  float *grad_input, *prepared; /* prepared: the phases of every group */
  float *sums;                  /* groups x threads x mt_conv_sum_floats */
  float *scratch;
  int64_t scratch_floats; /* of a thread: the padded gradient, the input or its gradient, the convolution's own */
} backward_pass;

static int64_t input_floats(const geometry *g) {
  return mt_max64(window_floats(g), mt_rounded_floats(in_image(g) / g->groups));
}

static void input_unit(const backward_pass *b, int64_t image, int64_t group, float *scratch) {
  const geometry *g = b->g;
  const int64_t phases = mt_input_grad_phases(&g->back);
  float *own = scratch + gradient_floats(g);
  copy_gradient(g, b->grad_output, image, group, scratch);
  mt_input_grad_run(&g->back, 1, scratch, b->prepared + group * phases * g->back.weights, own, own + input_floats(g));
  mt_copy_pixels(b->grad_input + image * in_image(g) + group * g->conv.in_c, g->in_channels, own, g->conv.in_c,
                 g->conv.in_c, g->in_size[0] * g->in_size[1]);
}

static void input_units(const void *context, int64_t begin, int64_t end) {
  const backward_pass *b = context;
  for (int64_t u = begin; u < end; u++)
    input_unit(b, u / b->g->groups, u % b->g->groups, b->scratch + mt_worker() * b->scratch_floats);
}

static int fill_grad_input(backward_pass *b, const float *weight, float *part) {
  const geometry *g = b->g;
  const int64_t step = mt_input_grad_phases(&g->back) * g->back.weights;
  b->prepared = new_floats(g->groups * step);
  int status = b->prepared ? 0 : -1;
  for (int64_t group = 0; status == 0 && group < g->groups; group++) {
    take_weights(g, weight, group, part);
    status = mt_input_grad_prepare(&g->back, part, b->prepared + group * step);
  }
  if (status == 0) over_units(g, input_units, b);
  mt_free(b->prepared);
  return status;
}

static void weight_unit(const backward_pass *b, int64_t image, int64_t group, float *scratch, float *sums) {
  const geometry *g = b->g;
  const int64_t row = g->back.grad_w * g->conv.out_c;
  float *window = scratch + gradient_floats(g);
  copy_gradient(g, b->grad_output, image, group, scratch);
  copy_input(g, b->input, image, group, window);
  const mt_conv_grad_call call = {.images = 1,
                                  .rows = g->conv.out_h,
                                  .in = window,
                                  .in_row = g->conv.in_w * g->conv.in_c,
                                  .in_image = mt_conv_in_count(&g->conv),
                                  .grad = scratch + g->back.border[0] * row + g->back.border[1] * g->conv.out_c,
                                  .grad_row = row,
                                  .grad_image = mt_input_grad_count(&g->back),
                                  .sums = sums,
                                  .scratch = window + input_floats(g)};
  mt_conv_weight_grad(&g->conv, &call);
}

static void weight_shares(const void *context, int64_t begin, int64_t end) {
  const backward_pass *b = context;
  const geometry *g = b->g;
  const int64_t sum_floats = mt_conv_sum_floats(&g->conv);
  for (int64_t t = begin; t < end; t++)
    for (int64_t n = g->images * t / g->threads; n < g->images * (t + 1) / g->threads; n++)
      for (int64_t group = 0; group < g->groups; group++)
        weight_unit(b, n, group, b->scratch + t * b->scratch_floats, b->sums + (group * g->threads + t) * sum_floats);
}

static int fill_grad_weight(backward_pass *b, float *part, float *grad_weight) {
  const geometry *g = b->g;
  const int64_t sum_floats = mt_conv_sum_floats(&g->conv), all = g->groups * g->threads * sum_floats;
  b->sums = new_floats(all);
  if (!b->sums) return -1;
  memset(b->sums, 0, (size_t)all * sizeof(float));
  mt_parallel(g->threads, 1, weight_shares, b);
  int status = 0;
  for (int64_t group = 0; status == 0 && group < g->groups; group++) {
    status = mt_conv_weight_result(&g->conv, b->sums + group * g->threads * sum_floats, g->threads, part);
    if (status == 0) put_weights(g, part, group, grad_weight);
  }
  mt_free(b->sums);
  return status;
}

int mt_conv2d_by_group_backward(const mt_tensor *input, const mt_tensor *weight, const mt_tensor *grad_output,
                                const int64_t in[4], const int64_t kernel[4], const mt_conv2d_params *p,
                                mt_tensor *grad_input, mt_tensor *grad_weight) {
  const geometry g = geometry_of(in, kernel, grad_output->shape, p, grad_input != NULL);
  backward_pass b = {.g = &g,
                     .input = input ? mt_f32(input) : NULL,
                     .grad_output = mt_f32(grad_output),
                     .grad_input = grad_input ? mt_f32(grad_input) : NULL};
  const int64_t own = mt_max64(mt_conv_scratch_floats(&g.conv), g.back.scratch);
  b.scratch_floats = gradient_floats(&g) + input_floats(&g) + mt_rounded_floats(own);
  b.scratch = new_floats(g.threads * b.scratch_floats);
  float *part = b.scratch ? new_floats(part_floats(&g)) : NULL;
  int status = part ? 0 : -1;
  if (status == 0 && grad_input) status = fill_grad_input(&b, mt_f32(weight), part);
  if (status == 0 && grad_weight) status = fill_grad_weight(&b, part, mt_f32(grad_weight));
  mt_free(part);
  mt_free(b.scratch);
  return status;
}
