#include "ops/correlate.h"

#include <string.h>

#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"

/* A strip's input and output together should stay in the second-level cache beside a panel of weights. */
#define STRIP_BYTES ((int64_t)128 << 10)
/* Under this many multiply-adds a second thread costs more than it brings. */
#define PARALLEL_FROM 131072.0

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

int64_t mt_packed_floats(int64_t rows, int64_t channels) {
  const int64_t lanes = mt_kernels->vector_floats;
  return rows * ((channels + lanes - 1) / lanes) * lanes;
}

static double multiply_adds(const mt_correlation *c) {
  const double outputs = (double)(c->images * c->out_size[0] * c->out_size[1]) * (double)c->out_channels;
  return outputs * (double)(c->kernel[0] * c->kernel[1]) * (double)c->in_channels;
}

static int threads_for(const mt_correlation *c) { return multiply_adds(c) < PARALLEL_FROM ? 1 : mt_num_threads(); }

/* Input columns and rows under `pixels` output pixels. */
static int64_t span(const mt_correlation *c, int axis, int64_t pixels) {
  return (pixels - 1) * c->stride[axis] + c->kernel[axis];
}

static bool leaves_image(const mt_correlation *c) {
  for (int axis = 0; axis < 2; axis++) {
    const int64_t end = c->origin[axis] + span(c, axis, c->out_size[axis]);
    if (c->origin[axis] < 0 || end > c->in_size[axis]) return true;
  }
  return false;
}

int64_t mt_correlate_strips(const mt_correlation *c) {
  const int64_t in_row = c->stride[0] * span(c, 1, c->out_size[1]) * c->in_channels;
  const int64_t out_row = c->out_size[1] * c->out_channels;
  const int64_t row_bytes = (in_row + out_row) * (int64_t)sizeof(float);
  int64_t strips = (c->out_size[0] * row_bytes + STRIP_BYTES - 1) / STRIP_BYTES;
  if (c->images > 0) strips = max64(strips, (threads_for(c) + c->images - 1) / c->images);
  return max64(1, min64(strips, c->out_size[0]));
}

void mt_copy_window(const float *image, const int64_t size[2], int64_t channels, int64_t first, int64_t rows,
                    int64_t left, int64_t columns, float *scratch) {
  const int64_t from = min64(max64(left, 0), size[1]), to = max64(from, min64(left + columns, size[1]));
  const int64_t before = min64(from - left, columns), inside = min64(to - from, columns - before);
  const int64_t after = columns - before - inside;
  const size_t pixel = (size_t)channels * sizeof(float);
  for (int64_t y = first; y < first + rows; y++, scratch += columns * channels) {
    if (y < 0 || y >= size[0] || inside == 0) {
      memset(scratch, 0, (size_t)columns * pixel);
      continue;
    }
    memset(scratch, 0, (size_t)before * pixel);
    memcpy(scratch + before * channels, image + (y * size[1] + from) * channels, (size_t)inside * pixel);
    memset(scratch + (before + inside) * channels, 0, (size_t)after * pixel);
  }
}

static void run_strip(const mt_correlation *c, int64_t strips, int64_t index, float *scratch) {
  const int64_t image = index / strips, strip = index % strips;
  const int64_t y0 = c->out_size[0] * strip / strips, y1 = c->out_size[0] * (strip + 1) / strips;
  const int64_t first = c->origin[0] + y0 * c->stride[0];
  const float *input = c->input + image * c->in_size[0] * c->in_size[1] * c->in_channels;
  int64_t columns = c->in_size[1];
  if (scratch) {
    columns = span(c, 1, c->out_size[1]);
    mt_copy_window(input, c->in_size, c->in_channels, first, span(c, 0, y1 - y0), c->origin[1], columns, scratch);
    input = scratch;
  } else {
    input += (first * columns + c->origin[1]) * c->in_channels;
  }
  const int64_t offset = image * c->out_image + y0 * c->out_row;
  const mt_conv2d_block block = {
      .in = input,
      .in_kernel_row = columns * c->in_channels,
      .in_pixel = c->stride[1] * c->in_channels,
      .in_row = c->stride[0] * columns * c->in_channels,
      .kernel_rows = c->kernel[0],
      .run = c->kernel[1] * c->in_channels,
      .rows_above = max64(0, -first),
      .rows_below = max64(0, first + span(c, 0, y1 - y0) - c->in_size[0]),
      .row_stride = c->stride[0],
      .weights = c->weights,
      .bias = c->bias,
      .relu = c->relu,
      .residual = c->residual ? c->residual + offset : NULL,
      .residual_row = c->out_row,
      .out = c->output + offset,
      .out_pixel = c->out_pixel,
      .out_row = c->out_row,
      .rows = y1 - y0,
      .width = c->out_size[1],
      .channels = c->out_channels,
  };
  mt_kernels->conv2d_forward(&block);
  if (c->strip_moments)
    mt_kernels->channel_moments(block.out, block.rows * block.width, c->out_channels,
                                c->strip_moments + index * 3 * c->out_channels);
}

typedef struct {
  const mt_correlation *c;
  int64_t strips;
  float *scratch; /* `window` of each worker; NULL: not needed */
  int64_t window;
} strip_run;

static void run_strips(const void *context, int64_t begin, int64_t end) {
  const strip_run *r = context;
  float *own = r->scratch ? r->scratch + mt_worker() * r->window : NULL;
  for (int64_t s = begin; s < end; s++) run_strip(r->c, r->strips, s, own);
}

int mt_correlate(const mt_correlation *c) {
  if (c->images * c->out_size[0] * c->out_size[1] * c->out_channels == 0) return 0;
  const int threads = threads_for(c);
  const int64_t strips = mt_correlate_strips(c), count = c->images * strips;
  int64_t window = 0;
  float *scratch = NULL;
  if (leaves_image(c)) {
    const int64_t rows = span(c, 0, (c->out_size[0] + strips - 1) / strips);
    window = (max64(rows, 1) * max64(span(c, 1, c->out_size[1]), 1) * c->in_channels + 15) / 16 * 16;
    scratch = mt_alloc((size_t)(threads * window) * sizeof(float));
    if (!scratch) return -1;
  }
  const int64_t chunk = mt_chunk(count, (int64_t)(multiply_adds(c) / (double)count), (int64_t)PARALLEL_FROM);
  mt_parallel(count, threads > 1 ? chunk : count, run_strips, &(strip_run){c, strips, scratch, window});
  mt_free(scratch);
  return 0;
}
