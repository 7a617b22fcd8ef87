/* The unit of work is a few rows of one image, so few that what they read stays in a core's own cache while its
 * channels are walked (kernels/depthwise.h).
 *
 * The gradient for the input is a walk over the output's gradient: the input pixels (y, x) with the same remainders by
 * the strides, a phase, meet the same taps, one kernel for each phase, turned around. The gradient for the weights is
 * summed in parts, which follow from the sizes alone, and the parts are added in order.
 *
 * Where channels have several outputs each, the input is first repeated that often, and everything is as with one. */
#include "conv/depthwise.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/minmax.h"
#include "core/threads.h"
#include "kernels/kernels.h"

#define ROWS_FLOATS \
  ((int64_t)48 << 10) /* what the rows of a unit read and write: within half of a second-level cache */
#define PARALLEL_FROM ((int64_t)131072) /* multiply-adds */
#define MOST_PARTS 32
#define PART_FROM ((int64_t)1 << 20) /* multiply-adds */

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int64_t in_image(const mt_depthwise *d) { return d->in_size[0] * d->in_size[1] * d->channels; }
static int64_t out_image(const mt_depthwise *d) { return d->out_size[0] * d->out_size[1] * d->channels; }
static int64_t taps_of(const mt_depthwise *d) { return d->kernel[0] * d->kernel[1]; }

/* ---- rows ---- */

/* Output rows that together with their input rows fit in a core's cache. */
static int64_t rows_at_a_time(const mt_depthwise *d) {
  const int64_t in_row = d->in_size[1] * d->channels, out_row = d->out_size[1] * d->channels;
  const int64_t overlap = (d->kernel[0] - 1) * in_row;
  const int64_t rows = (ROWS_FLOATS - overlap) / mt_max64(1, d->stride[0] * in_row + out_row);
  return mt_max64(1, mt_min64(rows, d->out_size[0]));
}

/* ---- forward ---- */

typedef struct {
  const mt_depthwise *d;
  const float *input, *weight, *bias;
  float low, high;
  float *output;
  int64_t rows, units; /* of one image */
} forward_pass;

static void forward_units(const void *context, int64_t begin, int64_t end) {
  const forward_pass *f = context;
  const mt_depthwise *d = f->d;
  for (int64_t u = begin; u < end; u++) {
    const int64_t image = u / f->units, first = u % f->units * f->rows;
    const mt_depthwise_block block = {
        .in = f->input + image * in_image(d),
        .in_size = {d->in_size[0], d->in_size[1]},
        .channels = d->channels,
        .taps = {d->kernel[0], d->kernel[1]},
        .stride = {d->stride[0], d->stride[1]},
        .dilation = {d->dilation[0], d->dilation[1]},
        .origin = {-d->padding[0], -d->padding[1]},
        .weights = f->weight,
        .weight_row = d->kernel[1] * d->channels,
        .weight_tap = d->channels,
        .bias = f->bias,
        .low = f->low,
        .high = f->high,
        .out = f->output + image * out_image(d),
        .width = d->out_size[1],
        .out_row = d->out_size[1] * d->channels,
        .out_pixel = d->channels,
    };
    mt_kernels->depthwise_rows(&block, first, mt_min64(first + f->rows, d->out_size[0]));
  }
}

static void forward(const mt_depthwise *d, forward_pass f) {
  f.d = d;
  f.rows = rows_at_a_time(d);
  f.units = ceil_div(d->out_size[0], f.rows);
  const int64_t n = d->images * f.units, cost = f.rows * d->out_size[1] * d->channels * taps_of(d);
  mt_parallel(n, mt_chunk(n, cost, PARALLEL_FROM), forward_units, &f);
}

/* ---- the gradient for the input ---- */

/* Along one axis, the input coordinates first + j * stride: which taps they meet, the last of them first (they step
 * back through the kernel by tap_step), and where those lie in the output's gradient. */
typedef struct {
  int64_t taps, last, tap_step, dilation, origin;
} phase;

static int64_t gcd(int64_t a, int64_t b) { return b == 0 ? a : gcd(b, a % b); }

static phase phase_of(const mt_depthwise *d, int axis, int64_t first) {
  const int64_t stride = d->stride[axis], dilation = d->dilation[axis], common = gcd(stride, dilation);
  phase p = {.tap_step = stride / common, .dilation = dilation / common};
  int64_t tap = 0; /* the first one that meets an output */
  while (tap < p.tap_step && (first + d->padding[axis] - tap * dilation) % stride != 0) tap++;
  if (tap == p.tap_step || tap >= d->kernel[axis]) return p;
  p.taps = (d->kernel[axis] - 1 - tap) / p.tap_step + 1;
  p.last = tap + (p.taps - 1) * p.tap_step;
  p.origin = (first + d->padding[axis] - tap * dilation) / stride - (p.taps - 1) * p.dilation;
  return p;
}

typedef struct {
  const mt_depthwise *d;
  const float *weight, *grad_output;
  float *grad_input;
  int64_t rows, units; /* rows: of the input, in one unit */
} input_pass;

/* The rows [begin, end) of one image, as far as they are of the phase (y, x). */
static void input_phase(const input_pass *b, int64_t image, int64_t begin, int64_t end, int64_t y, int64_t x) {
  const mt_depthwise *d = b->d;
  const phase v = phase_of(d, 0, y), h = phase_of(d, 1, x);
  const bool meets = v.taps > 0 && h.taps > 0; /* else zeros */
  const int64_t tap = d->channels, row = d->kernel[1] * d->channels;
  const mt_depthwise_block block = {
      .in = b->grad_output + image * out_image(d),
      .in_size = {d->out_size[0], d->out_size[1]},
      .channels = d->channels,
      .taps = {meets ? v.taps : 0, meets ? h.taps : 0},
      .stride = {1, 1},
      .dilation = {v.dilation, h.dilation},
      .origin = {v.origin, h.origin},
      .weights = b->weight + v.last * row + h.last * tap,
      .weight_row = -v.tap_step * row,
      .weight_tap = -h.tap_step * tap,
      .low = -INFINITY,
      .high = INFINITY,
      .out = b->grad_input + image * in_image(d) + (y * d->in_size[1] + x) * d->channels,
      .width = ceil_div(d->in_size[1] - x, d->stride[1]),
      .out_row = d->stride[0] * d->in_size[1] * d->channels,
      .out_pixel = d->stride[1] * d->channels,
  };
  mt_kernels->depthwise_rows(&block, ceil_div(mt_max64(begin - y, 0), d->stride[0]),
                             ceil_div(mt_max64(end - y, 0), d->stride[0]));
}

static void input_units(const void *context, int64_t begin, int64_t end) {
  const input_pass *b = context;
  const mt_depthwise *d = b->d;
  for (int64_t u = begin; u < end; u++) {
    const int64_t first = u % b->units * b->rows, last = mt_min64(first + b->rows, d->in_size[0]);
    for (int64_t y = 0; y < d->stride[0] && y < d->in_size[0]; y++)
      for (int64_t x = 0; x < d->stride[1] && x < d->in_size[1]; x++) input_phase(b, u / b->units, first, last, y, x);
  }
}

static void grad_input_of(const mt_depthwise *d, const float *weight, const float *grad_output, float *grad_input) {
  input_pass b = {.d = d, .weight = weight, .grad_output = grad_output, .grad_input = grad_input};
  b.rows = rows_at_a_time(d) * d->stride[0];
  b.units = ceil_div(d->in_size[0], b.rows);
  const int64_t n = d->images * b.units, cost = b.rows / d->stride[0] * d->out_size[1] * d->channels * taps_of(d);
  mt_parallel(n, mt_chunk(n, cost, PARALLEL_FROM), input_units, &b);
}

/* ---- the gradient for the weights ---- */

typedef struct {
  const mt_depthwise *d;
  const float *input, *grad_output;
  float *sums; /* parts x taps x channels */
  int64_t parts;
} weight_pass;

static int64_t sum_floats(const mt_depthwise *d) { return taps_of(d) * d->channels; }

/* Rows [first, end) of the whole batch's output, all images' one after the other. */
static void add_rows(const weight_pass *b, int64_t first, int64_t end, float *sums) {
  const mt_depthwise *d = b->d;
  const int64_t at_a_time = rows_at_a_time(d);
  while (first < end) {
    const int64_t image = first / d->out_size[0], row = first % d->out_size[0];
    const int64_t rows = mt_min64(at_a_time, mt_min64(end - first, d->out_size[0] - row));
    const mt_depthwise_grad_block block = {
        .in = b->input + image * in_image(d),
        .grad = b->grad_output + image * out_image(d),
        .in_size = {d->in_size[0], d->in_size[1]},
        .channels = d->channels,
        .width = d->out_size[1],
        .grad_row = d->out_size[1] * d->channels,
        .taps = {d->kernel[0], d->kernel[1]},
        .stride = {d->stride[0], d->stride[1]},
        .dilation = {d->dilation[0], d->dilation[1]},
        .origin = {-d->padding[0], -d->padding[1]},
        .sums = sums,
    };
    mt_kernels->depthwise_grad_weight(&block, row, row + rows);
    first += rows;
  }
}

static void weight_parts(const void *context, int64_t begin, int64_t end) {
  const weight_pass *b = context;
  const int64_t rows = b->d->images * b->d->out_size[0];
  for (int64_t part = begin; part < end; part++) {
    float *sums = b->sums + part * sum_floats(b->d);
    memset(sums, 0, (size_t)sum_floats(b->d) * sizeof *sums);
    add_rows(b, rows * part / b->parts, rows * (part + 1) / b->parts, sums);
  }
}

static int grad_weight_of(const mt_depthwise *d, const float *input, const float *grad_output, float *grad_weight) {
  const int64_t rows = d->images * d->out_size[0], work = rows * d->out_size[1] * sum_floats(d);
  const int64_t parts = mt_max64(1, mt_min64(mt_min64(rows, work / PART_FROM), MOST_PARTS));
  float *sums = mt_alloc((size_t)(parts * sum_floats(d)) * sizeof(float));
  if (!sums) return -1;
  const weight_pass b = {.d = d, .input = input, .grad_output = grad_output, .sums = sums, .parts = parts};
  mt_parallel(parts, 1, weight_parts, &b);
  memcpy(grad_weight, sums, (size_t)sum_floats(d) * sizeof(float));
  for (int64_t part = 1; part < parts; part++)
    mt_kernels->add(grad_weight, grad_weight, 1, sums + part * sum_floats(d), 1, sum_floats(d));
  mt_free(sums);
  return 0;
}

/* ---- several outputs for each channel ---- */

typedef struct {
  int64_t multiplier;
  const float *from;
  float *to;
} repetition;

static void repeat_range(const void *context, int64_t begin, int64_t end) {
  const repetition *r = context;
  for (int64_t i = begin; i < end; i++)
    for (int64_t j = 0; j < r->multiplier; j++) r->to[i * r->multiplier + j] = r->from[i];
}

/* The reverse: a value is the sum of its repetitions. */
static void gather_range(const void *context, int64_t begin, int64_t end) {
  const repetition *r = context;
  for (int64_t i = begin; i < end; i++) {
    float sum = 0;
    for (int64_t j = 0; j < r->multiplier; j++) sum += r->from[i * r->multiplier + j];
    r->to[i] = sum;
  }
}

/* The same convolution with an input that has as many channels as the output. */
static mt_depthwise repeated(const mt_depthwise *d) {
  mt_depthwise all = *d;
  all.channels = d->channels * d->multiplier;
  all.multiplier = 1;
  return all;
}

static float *repeated_buffer(const mt_depthwise *d) {
  return mt_alloc((size_t)(d->images * in_image(d) * d->multiplier) * sizeof(float));
}

/* The input repeated: itself where there is nothing to repeat, else a buffer that the caller frees (`own`). */
static const float *repeated_input(const mt_depthwise *d, const float *input, float **own) {
  *own = NULL;
  if (d->multiplier == 1) return input;
  *own = repeated_buffer(d);
  const int64_t n = d->images * in_image(d);
  if (*own)
    mt_parallel(n, mt_chunk(n, d->multiplier, PARALLEL_FROM), repeat_range, &(repetition){d->multiplier, input, *own});
  return *own;
}

int mt_depthwise_forward(const mt_depthwise *d, const float *input, const float *weight, const float *bias, float low,
                         float high, float *output) {
  const mt_depthwise all = repeated(d);
  float *own;
  const float *in = repeated_input(d, input, &own);
  if (in)
    forward(&all,
            (forward_pass){.input = in, .weight = weight, .bias = bias, .low = low, .high = high, .output = output});
  mt_free(own);
  return in ? 0 : -1;
}

int mt_depthwise_grad_input(const mt_depthwise *d, const float *weight, const float *grad_output, float *grad_input) {
  const mt_depthwise all = repeated(d);
  float *own = d->multiplier > 1 ? repeated_buffer(d) : NULL;
  if (d->multiplier > 1 && !own) return -1;
  grad_input_of(&all, weight, grad_output, own ? own : grad_input);
  const int64_t n = d->images * in_image(d);
  if (own)
    mt_parallel(n, mt_chunk(n, d->multiplier, PARALLEL_FROM), gather_range,
                &(repetition){d->multiplier, own, grad_input});
  mt_free(own);
  return 0;
}

int mt_depthwise_grad_weight(const mt_depthwise *d, const float *input, const float *grad_output, float *grad_weight) {
  const mt_depthwise all = repeated(d);
  float *own;
  const float *in = repeated_input(d, input, &own);
  const int status = in ? grad_weight_of(&all, in, grad_output, grad_weight) : -1;
  mt_free(own);
  return status;
}
