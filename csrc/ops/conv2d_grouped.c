/* The unit of work is one image of one group: its pixels are gathered strip by strip into a thread's own scratch, and
 * on the way back its part of the input's gradient belongs to nobody else. The weights' gradient is summed in a part
 * for each thread, over its share of the images; the sums are added in the parts' order. */
#include "ops/conv2d_grouped.h"

#include <math.h>
#include <string.h>

#include "conv/depthwise.h"
#include "conv/packing.h"
#include "core/memory.h"
#include "core/minmax.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "ops/conv2d_by_group.h"

#define STRIP_FLOATS ((int64_t)64 << 10) /* gathered at a time: half of a second-level cache */
#define PARALLEL_FROM 131072.0           /* multiply-adds */

/* Everything about the geometry. taps: the length of a gathered pixel, kH * kW * group_in. */
typedef struct {
  int64_t images, groups, group_in, group_out, taps;
  int64_t in_image, out_image, in_channels, out_channels;
  mt_depthwise s; /* all of the convolution where it is depthwise, else its extents */
  int64_t strip;  /* rows of the output gathered at a time */
  int threads;
} geometry;

static geometry geometry_of(const int64_t in[4], const int64_t weight[4], const int64_t out[4],
                            const mt_conv2d_params *p) {
  geometry g = {.images = in[0], .groups = mt_conv2d_groups(p), .in_channels = in[3], .out_channels = out[3]};
  g.group_in = in[3] / g.groups;
  g.group_out = out[3] / g.groups;
  g.taps = weight[0] * weight[1] * g.group_in;
  g.in_image = in[1] * in[2] * in[3];
  g.out_image = out[1] * out[2] * out[3];
  for (int i = 0; i < 2; i++) {
    g.s.in_size[i] = in[1 + i];
    g.s.out_size[i] = out[1 + i];
    g.s.kernel[i] = weight[i];
    g.s.stride[i] = p->stride[i];
    g.s.padding[i] = p->padding[i];
    g.s.dilation[i] = mt_conv2d_dilation(p, i);
  }
  g.s.images = in[0];
  g.s.channels = in[3];
  g.s.multiplier = g.group_out;
  g.strip = mt_max64(1, mt_min64(out[1], STRIP_FLOATS / mt_max64(1, out[2] * g.taps)));
  const double work = (double)(g.images * g.out_image) * (double)g.taps;
  g.threads = work < PARALLEL_FROM ? 1 : mt_num_threads();
  return g;
}

static bool is_depthwise(const geometry *g) { return g->group_in == 1; }
static bool is_dilated(const geometry *g) { return g->s.dilation[0] > 1 || g->s.dilation[1] > 1; }

/* ---- gathering ---- */

/* The place in the image that output (y, x) and tap (ky, kx) meet at, or -1 outside of it. */
static int64_t place_of(const geometry *g, int64_t y, int64_t x, int64_t ky, int64_t kx) {
  const mt_depthwise *s = &g->s;
  const int64_t in_y = y * s->stride[0] - s->padding[0] + ky * s->dilation[0];
  const int64_t in_x = x * s->stride[1] - s->padding[1] + kx * s->dilation[1];
  if (in_y < 0 || in_y >= s->in_size[0] || in_x < 0 || in_x >= s->in_size[1]) return -1;
  return (in_y * s->in_size[1] + in_x) * g->in_channels;
}

/* Calls BODY(place, at) for every tap of every pixel of the rows [y0, y1): `at` is its place in the matrix. */
#define EACH_TAP(g, y0, y1, BODY)                             \
  do {                                                        \
    int64_t at = 0;                                           \
    for (int64_t y = y0; y < y1; y++)                         \
      for (int64_t x = 0; x < (g)->s.out_size[1]; x++)        \
        for (int64_t ky = 0; ky < (g)->s.kernel[0]; ky++)     \
          for (int64_t kx = 0; kx < (g)->s.kernel[1]; kx++) { \
            const int64_t place = place_of(g, y, x, ky, kx);  \
            BODY;                                             \
            at += (g)->group_in;                              \
          }                                                   \
  } while (0)

static void gather(const geometry *g, const float *image, int64_t group, int64_t y0, int64_t y1, float *matrix) {
  const float *from = image + group * g->group_in;
  const size_t bytes = (size_t)g->group_in * sizeof(float);
  EACH_TAP(g, y0, y1, {
    if (place >= 0)
      memcpy(matrix + at, from + place, bytes);
    else
      memset(matrix + at, 0, bytes);
  });
}

/* The reverse: adds the matrix to where its elements came from. */
static void scatter(const geometry *g, const float *matrix, int64_t group, int64_t y0, int64_t y1, float *image) {
  float *to = image + group * g->group_in;
  EACH_TAP(g, y0, y1, {
    for (int64_t i = 0; place >= 0 && i < g->group_in; i++) to[place + i] += matrix[at + i];
  });
}

static int64_t matrix_floats(const geometry *g) { return (g->strip * g->s.out_size[1] * g->taps + 15) / 16 * 16; }

/* ---- what threads share ---- */

/* All groups of all images. */
static void over_units(const geometry *g, mt_loop_body *body, const void *pass) {
  const int64_t n = g->images * g->groups;
  const double multiply_adds = (double)g->out_image * (double)g->taps / (double)g->groups;
  mt_parallel(n, g->threads > 1 ? mt_chunk(n, (int64_t)multiply_adds, (int64_t)PARALLEL_FROM) : n, body, pass);
}

/* ---- forward ---- */

typedef struct {
  const geometry *g;
  const float *input, *bias;
  bool relu;
  float *output, *packed, *scratch;
} forward_pass;

static void pack_weights(const geometry *g, const float *weight, float *packed) {
  const int64_t step = mt_packed_floats(g->taps, g->group_out);
  for (int64_t group = 0; group < g->groups; group++)
    mt_kernels->conv2d_pack(weight + group * g->group_out, g->taps, g->out_channels, g->group_out, 1, 0, g->taps,
                            packed + group * step);
}

static void forward_unit(const forward_pass *f, int64_t image, int64_t group, float *matrix) {
  const geometry *g = f->g;
  const int64_t first = group * g->group_out;
  for (int64_t y = 0; y < g->s.out_size[0]; y += g->strip) {
    const int64_t end = mt_min64(y + g->strip, g->s.out_size[0]);
    gather(g, f->input + image * g->in_image, group, y, end, matrix);
    const mt_conv2d_block block = {
        .in = matrix,
        .in_pixel = g->taps,
        .kernel_rows = 1,
        .run = g->taps,
        .weights = f->packed + group * mt_packed_floats(g->taps, g->group_out),
        .bias = f->bias ? f->bias + first : NULL,
        .relu = f->relu,
        .out = f->output + image * g->out_image + y * g->s.out_size[1] * g->out_channels + first,
        .out_pixel = g->out_channels,
        .rows = 1,
        .width = (end - y) * g->s.out_size[1],
        .channels = g->group_out,
    };
    mt_kernels->conv2d_forward(&block);
  }
}

/* A unit: one group of one image. */
static void forward_units(const void *context, int64_t begin, int64_t end) {
  const forward_pass *f = context;
  for (int64_t u = begin; u < end; u++)
    forward_unit(f, u / f->g->groups, u % f->g->groups, f->scratch + mt_worker() * matrix_floats(f->g));
}

static int forward_by_matrix(const geometry *g, const float *weight, forward_pass *f) {
  f->packed = mt_alloc((size_t)(g->groups * mt_packed_floats(g->taps, g->group_out)) * sizeof(float));
  f->scratch = f->packed ? mt_alloc((size_t)(g->threads * matrix_floats(g)) * sizeof(float)) : NULL;
  const bool ready = f->scratch != NULL;
  if (ready) pack_weights(g, weight, f->packed);
  if (ready) over_units(g, forward_units, f);
  mt_free(f->scratch);
  mt_free(f->packed);
  return ready ? 0 : -1;
}

static int forward_depthwise(const geometry *g, const float *weight, forward_pass *f) {
  return mt_depthwise_forward(&g->s, f->input, weight, f->bias, f->relu ? 0.0f : -INFINITY, INFINITY, f->output);
}

mt_tensor *mt_conv2d_grouped(const mt_tensor *input, const mt_tensor *weight, const mt_tensor *bias,
                             const mt_conv2d_params *p, const int64_t out_shape[4]) {
  const geometry g = geometry_of(input->shape, weight->shape, out_shape, p);
  mt_tensor *output = mt_tensor_new(MT_FLOAT32, 4, out_shape);
  if (!output || output->count == 0) return output;
  forward_pass f = {
      .g = &g, .input = mt_f32(input), .bias = bias ? mt_f32(bias) : NULL, .relu = p->relu, .output = mt_f32(output)};
  const int status = is_depthwise(&g) ? forward_depthwise(&g, mt_f32(weight), &f)
                     : is_dilated(&g) ? forward_by_matrix(&g, mt_f32(weight), &f)
                                      : mt_conv2d_by_group(input, weight, bias, p, output);
  if (status == 0) return output;
  mt_release(output);
  return NULL;
}

/* ---- the gradient for the input ---- */

typedef struct {
  const geometry *g;
  const float *input, *weight, *grad_output;
  float *grad_input, *packed, *scratch;
  float *sums; /* threads x sum_floats: the weights' gradient */
  int64_t sum_floats;
} backward_pass;

/* Each group's weights turned around: rows are its outputs, columns the taps. */
static void pack_transposed(const backward_pass *b) {
  const geometry *g = b->g;
  const int64_t step = mt_packed_floats(g->group_out, g->taps);
  for (int64_t group = 0; group < g->groups; group++)
    mt_kernels->conv2d_pack(b->weight + group * g->group_out, g->group_out, 1, g->taps, g->out_channels, 0,
                            g->group_out, b->packed + group * step);
}

static void input_unit(const backward_pass *b, int64_t image, int64_t group, float *matrix) {
  const geometry *g = b->g;
  float *grad_image = b->grad_input + image * g->in_image;
  for (int64_t y = 0; y < g->s.out_size[0]; y += g->strip) {
    const int64_t end = mt_min64(y + g->strip, g->s.out_size[0]);
    const mt_conv2d_block block = {
        .in = b->grad_output + image * g->out_image + y * g->s.out_size[1] * g->out_channels + group * g->group_out,
        .in_pixel = g->out_channels,
        .kernel_rows = 1,
        .run = g->group_out,
        .weights = b->packed + group * mt_packed_floats(g->group_out, g->taps),
        .out = matrix,
        .out_pixel = g->taps,
        .rows = 1,
        .width = (end - y) * g->s.out_size[1],
        .channels = g->taps,
    };
    mt_kernels->conv2d_forward(&block);
    scatter(g, matrix, group, y, end, grad_image);
  }
}

static void input_units(const void *context, int64_t begin, int64_t end) {
  const backward_pass *b = context;
  for (int64_t u = begin; u < end; u++)
    input_unit(b, u / b->g->groups, u % b->g->groups, b->scratch + mt_worker() * matrix_floats(b->g));
}

static int input_by_matrix(backward_pass *b) {
  const geometry *g = b->g;
  b->packed = mt_alloc((size_t)(g->groups * mt_packed_floats(g->group_out, g->taps)) * sizeof(float));
  if (!b->packed) return -1;
  pack_transposed(b);
  memset(b->grad_input, 0, (size_t)(g->images * g->in_image) * sizeof(float));
  over_units(g, input_units, b);
  mt_free(b->packed);
  return 0;
}

/* ---- the gradient for the weights ---- */

static void add_weight_sums(const backward_pass *b, int64_t image, int64_t group, float *matrix, float *sums) {
  const geometry *g = b->g;
  const int64_t columns = MT_CONV2D_PANEL * mt_kernels->vector_floats;
  for (int64_t y = 0; y < g->s.out_size[0]; y += g->strip) {
    const int64_t end = mt_min64(y + g->strip, g->s.out_size[0]);
    gather(g, b->input + image * g->in_image, group, y, end, matrix);
    const mt_conv2d_grad_block block = {
        .in = matrix,
        .in_pixel = g->taps,
        .kernel_rows = 1,
        .run = g->taps,
        .grad = b->grad_output + image * g->out_image + y * g->s.out_size[1] * g->out_channels + group * g->group_out,
        .grad_pixel = g->out_channels,
        .sums = sums,
        .images = 1,
        .rows = 1,
        .width = (end - y) * g->s.out_size[1],
        .channels = g->group_out,
        .last_panel = (g->group_out + columns - 1) / columns,
    };
    mt_kernels->conv2d_grad_weight(&block);
  }
}

static void weight_share(const backward_pass *b, int thread) {
  const geometry *g = b->g;
  float *sums = b->sums + thread * b->sum_floats;
  memset(sums, 0, (size_t)b->sum_floats * sizeof(float));
  for (int64_t n = g->images * thread / g->threads; n < g->images * (thread + 1) / g->threads; n++) {
    for (int64_t group = 0; group < g->groups; group++)
      add_weight_sums(b, n, group, b->scratch + thread * matrix_floats(g),
                      sums + group * mt_packed_floats(g->taps, g->group_out));
  }
}

static void weight_shares(const void *context, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; t++) weight_share(context, (int)t);
}

/* The threads' sums together, into kH,kW,I/groups,O. `matrix` holds one group's. */
static void collect_packed(const backward_pass *b, float *matrix, float *grad_weight) {
  const geometry *g = b->g;
  const int64_t step = mt_packed_floats(g->taps, g->group_out);
  for (int64_t group = 0; group < g->groups; group++) {
    mt_kernels->conv2d_unpack_sum(b->sums + group * step, g->threads, b->sum_floats, g->group_out, g->taps, 0, g->taps,
                                  matrix);
    for (int64_t tap = 0; tap < g->taps; tap++)
      memcpy(grad_weight + tap * g->out_channels + group * g->group_out, matrix + tap * g->group_out,
             (size_t)g->group_out * sizeof(float));
  }
}

static int weight_by_matrix(backward_pass *b, float *grad_weight) {
  const geometry *g = b->g;
  b->sum_floats = g->groups * mt_packed_floats(g->taps, g->group_out);
  b->sums = mt_alloc((size_t)(g->threads * b->sum_floats) * sizeof(float));
  float *matrix = b->sums ? mt_alloc((size_t)(g->taps * g->group_out) * sizeof(float)) : NULL;
  if (matrix) {
    mt_parallel(g->threads, 1, weight_shares, b);
    collect_packed(b, matrix, grad_weight);
  }
  mt_free(b->sums);
  mt_free(matrix);
  return matrix ? 0 : -1;
}

static int fill_by_matrix(backward_pass *b, mt_tensor *grad_input, mt_tensor *grad_weight) {
  b->scratch = mt_alloc((size_t)(b->g->threads * matrix_floats(b->g)) * sizeof(float));
  int status = b->scratch ? 0 : -1;
  if (status == 0 && grad_input) status = input_by_matrix(b);
  if (status == 0 && grad_weight) status = weight_by_matrix(b, mt_f32(grad_weight));
  mt_free(b->scratch);
  return status;
}

static int fill_depthwise(const backward_pass *b, mt_tensor *grad_input, mt_tensor *grad_weight) {
  int status = 0;
  if (grad_input) status = mt_depthwise_grad_input(&b->g->s, b->weight, b->grad_output, b->grad_input);
  if (status == 0 && grad_weight)
    status = mt_depthwise_grad_weight(&b->g->s, b->input, b->grad_output, mt_f32(grad_weight));
  return status;
}

/* With no pixels in the output every gradient is zero. */
static int fill_zeros(mt_tensor *grad_input, mt_tensor *grad_weight) {
  if (grad_input) memset(grad_input->data, 0, (size_t)grad_input->count * sizeof(float));
  if (grad_weight) memset(grad_weight->data, 0, (size_t)grad_weight->count * sizeof(float));
  return 0;
}

int mt_conv2d_grouped_backward(const mt_tensor *input, const mt_tensor *weight, const mt_tensor *grad_output,
                               const mt_conv2d_params *p, mt_tensor *grad_input, mt_tensor *grad_weight) {
  if (grad_output->count == 0) return fill_zeros(grad_input, grad_weight);
  const int64_t *in = grad_input ? grad_input->shape : input ? input->shape : NULL;
  const int64_t *kernel = grad_weight ? grad_weight->shape : weight ? weight->shape : NULL;
  if (!in || !kernel) return 0; /* only the bias wants a gradient */
  const geometry g = geometry_of(in, kernel, grad_output->shape, p);
  backward_pass b = {.g = &g,
                     .input = input ? mt_f32(input) : NULL,
                     .weight = weight ? mt_f32(weight) : NULL,
                     .grad_output = mt_f32(grad_output),
                     .grad_input = grad_input ? mt_f32(grad_input) : NULL};
  if (is_depthwise(&g)) return fill_depthwise(&b, grad_input, grad_weight);
  if (is_dilated(&g)) return fill_by_matrix(&b, grad_input, grad_weight);
  return mt_conv2d_by_group_backward(input, weight, grad_output, in, kernel, p, grad_input, grad_weight);
}
