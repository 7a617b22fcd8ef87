#include "conv/batch.h"

#include <assert.h>
#include <string.h>

#include "core/memory.h"
#include "core/minmax.h"
#include "core/threads.h"
#include "kernels/kernels.h"

/* A strip's input and output together should stay in the second-level cache beside a panel of weights. Winograd's come
 * in whole tiles, whose matrix products want many of them. */
#define STRIP_BYTES ((int64_t)128 << 10)
#define WINOGRAD_STRIP_BYTES ((int64_t)512 << 10)
/* What every tap of the weights' gradient passes over at a time: as much as makes up for reading the sums. */
#define GRAD_MIN_BYTES ((int64_t)32 << 10)
#define GRAD_MAX_BYTES ((int64_t)1 << 20)
/* Under this many multiply-adds a second thread costs more than it brings. */
#define PARALLEL_FROM 131072.0
/* And an image is only shared by threads in strips of so many. */
#define STRIP_FROM 1048576.0

#define COPY_EACH(count) \
  for (int64_t i = 0; i < pixels; i++) memcpy(to + i * to_pixel, from + i * from_pixel, (size_t)(count) * sizeof(float))

/* Known sizes are copied in a few instructions. */
void mt_copy_pixels(float *to, int64_t to_pixel, const float *from, int64_t from_pixel, int64_t channels,
                    int64_t pixels) {
  if (to_pixel == channels && from_pixel == channels)
    memcpy(to, from, (size_t)(pixels * channels) * sizeof(float));
  else if (channels == 4)
    COPY_EACH(4);
  else if (channels == 8)
    COPY_EACH(8);
  else if (channels == 16)
    COPY_EACH(16);
  else
    COPY_EACH(channels);
}

void mt_copy_window_of(const float *image, const int64_t size[2], int64_t pixel, int64_t channels, int64_t first,
                       int64_t rows, int64_t left, int64_t columns, float *scratch) {
  const int64_t from = mt_min64(mt_max64(left, 0), size[1]), to = mt_max64(from, mt_min64(left + columns, size[1]));
  const int64_t before = mt_min64(from - left, columns), inside = mt_min64(to - from, columns - before);
  const int64_t after = columns - before - inside;
  const size_t bytes = (size_t)channels * sizeof(float);
  for (int64_t y = first; y < first + rows; y++, scratch += columns * channels) {
    if (y < 0 || y >= size[0] || inside == 0) {
      memset(scratch, 0, (size_t)columns * bytes);
      continue;
    }
    memset(scratch, 0, (size_t)before * bytes);
    mt_copy_pixels(scratch + before * channels, channels, image + (y * size[1] + from) * pixel, pixel, channels,
                   inside);
    memset(scratch + (before + inside) * channels, 0, (size_t)after * bytes);
  }
}

void mt_copy_window(const float *image, const int64_t size[2], int64_t channels, int64_t first, int64_t rows,
                    int64_t left, int64_t columns, float *scratch) {
  mt_copy_window_of(image, size, channels, channels, first, rows, left, columns, scratch);
}

/* ---- the cut ---- */

/* Units of work: `lot` images, or one of `strips` strips of an image. */
typedef struct {
  int64_t lot, strips, rows, units; /* rows: output rows of a strip */
  int threads;
} batch_cut;

/* The images and rows of a unit. */
typedef struct {
  int64_t image, images, row, rows;
} unit_range;

static double multiply_adds(const mt_conv_batch *b) {
  const mt_conv *c = b->conv;
  return (double)(b->images * c->out_h * c->out_w) * (double)c->out_c * (double)mt_conv_taps(c);
}

static int64_t image_bytes(const mt_conv *c) {
  const int64_t in = mt_conv_reach(c, 0, c->out_h) * c->in_w * c->in_c;
  return (in + c->out_h * c->out_w * c->out_c) * (int64_t)sizeof(float);
}

/* lot: of images that are small enough; target: bytes of a unit. */
static batch_cut cut_batch(const mt_conv_batch *b, int64_t lot, int64_t target) {
  const mt_conv *c = b->conv;
  batch_cut cut = {.threads = multiply_adds(b) < PARALLEL_FROM ? 1 : mt_num_threads(), .strips = 1, .rows = c->out_h};
  cut.lot = mt_max64(1, mt_min64(lot, (b->images + cut.threads - 1) / cut.threads));
  if (cut.lot == 1) {
    const int64_t worth = (int64_t)(multiply_adds(b) / (double)b->images / STRIP_FROM);
    const int64_t shared = mt_min64((cut.threads + b->images - 1) / b->images, worth);
    const int64_t wanted = mt_max64(mt_max64((image_bytes(c) + target - 1) / target, shared), 1);
    cut.rows = (c->out_h + wanted - 1) / wanted;
    cut.rows = mt_round_up64(cut.rows, c->tile);
    cut.strips = (c->out_h + cut.rows - 1) / cut.rows;
  }
  cut.units = (b->images + cut.lot - 1) / cut.lot * cut.strips;
  return cut;
}

static unit_range range_of(const mt_conv_batch *b, const batch_cut *cut, int64_t unit) {
  const int64_t image = unit / cut->strips * cut->lot, row = unit % cut->strips * cut->rows;
  const unit_range r = {image, mt_min64(cut->lot, b->images - image), row, mt_min64(cut->rows, b->conv->out_h - row)};
  assert(r.images > 0 && r.rows > 0);
  return r;
}

/* Floats for the most images, or rows, of a unit. */
static int64_t window_floats(const mt_conv_batch *b, const batch_cut *cut) {
  const int64_t rows = mt_max64(mt_conv_reach(b->conv, 0, cut->rows), 0);
  return mt_rounded_floats(cut->lot * rows * b->conv->in_w * b->conv->in_c);
}

/* Whether the kernels may read the images as they stand. */
static bool in_place(const mt_conv_batch *b) {
  return b->origin[0] == 0 && b->origin[1] == 0 && b->in_size[1] == b->conv->in_w && b->in_size[0] >= b->conv->in_h;
}

/* Where a unit's input lies, in the images or as padded copies in `window`; *image_step: from one to the next. */
static const float *input_of(const mt_conv_batch *b, const unit_range *r, float *window, int64_t *image_step) {
  const mt_conv *c = b->conv;
  const int64_t in_count = b->in_size[0] * b->in_size[1] * c->in_c, first = b->origin[0] + r->row * c->stride[0];
  const int64_t rows = mt_max64(mt_conv_reach(c, 0, r->rows), 0);
  const float *image = b->in + r->image * in_count;
  *image_step = in_count;
  if (in_place(b)) return image + first * b->in_size[1] * c->in_c;
  *image_step = rows * c->in_w * c->in_c;
  for (int64_t n = 0; n < r->images; n++)
    mt_copy_window(image + n * in_count, b->in_size, c->in_c, first, rows, b->origin[1], c->in_w,
                   window + n * *image_step);
  return window;
}

/* ---- forward ---- */

typedef struct {
  const mt_conv_batch *batch;
  const batch_cut *cut;
  float *scratch; /* of each worker: the window, then the convolution's own */
  int64_t window, scratch_floats;
} batch_run;

static void run_unit(const batch_run *run, const unit_range *r, float *scratch) {
  const mt_conv_batch *b = run->batch;
  const int64_t at = r->image * b->out_image + r->row * b->out_row;
  mt_conv_call call = {.images = r->images,
                       .rows = r->rows,
                       .in_row = b->conv->in_w * b->conv->in_c,
                       .weights = b->weights,
                       .bias = b->bias,
                       .residual = b->residual ? b->residual + at : NULL,
                       .residual_row = b->out_row,
                       .residual_image = b->out_image,
                       .relu = b->relu,
                       .out = b->out + at,
                       .out_pixel = b->out_pixel,
                       .out_row = b->out_row,
                       .out_image = b->out_image,
                       .scratch = scratch + run->window};
  call.in = input_of(b, r, scratch, &call.in_image);
  mt_conv_run(b->conv, &call);
}

static void run_units(const void *context, int64_t begin, int64_t end) {
  const batch_run *run = context;
  for (int64_t u = begin; u < end; u++) {
    const unit_range r = range_of(run->batch, run->cut, u);
    run_unit(run, &r, run->scratch + mt_worker() * run->scratch_floats);
  }
}

int mt_conv_batch_run(const mt_conv_batch *b) {
  const mt_conv *c = b->conv;
  if (b->images * c->out_h * c->out_w * c->out_c == 0) return 0;
  const batch_cut cut = cut_batch(b, c->lot, c->winograd ? WINOGRAD_STRIP_BYTES : STRIP_BYTES);
  batch_run run = {.batch = b, .cut = &cut, .window = in_place(b) ? 0 : window_floats(b, &cut)};
  run.scratch_floats = run.window + mt_rounded_floats(mt_conv_scratch_floats(c));
  run.scratch = mt_alloc((size_t)(cut.threads * run.scratch_floats) * sizeof(float));
  if (!run.scratch) return -1;
  const int64_t chunk = mt_chunk(cut.units, (int64_t)(multiply_adds(b) / (double)cut.units), (int64_t)PARALLEL_FROM);
  mt_parallel(cut.units, cut.threads > 1 ? chunk : cut.units, run_units, &run);
  mt_free(run.scratch);
  return 0;
}

/* ---- the weights' gradient ---- */

typedef struct {
  const mt_conv_batch *batch;
  const batch_cut *cut;
  const float *grad;
  float *sums;    /* of each thread */
  float *scratch; /* of each thread: the windows of input and gradient, then the convolution's own */
  int64_t window, grad_window, scratch_floats;
} grad_run;

static bool grad_in_place(const mt_conv *c) {
  return mt_conv_grad_reach(c, c->out_h) == c->out_h && mt_conv_grad_reach(c, c->out_w) == c->out_w;
}

static void grad_unit(const grad_run *run, const unit_range *r, float *scratch, float *sums) {
  const mt_conv_batch *b = run->batch;
  const mt_conv *c = b->conv;
  const int64_t size[2] = {c->out_h, c->out_w}, count = c->out_h * c->out_w * c->out_c;
  const int64_t rows = mt_conv_grad_reach(c, r->rows), columns = mt_conv_grad_reach(c, c->out_w);
  const float *grad = run->grad + r->image * count;
  float *copy = scratch + run->window;
  mt_conv_grad_call call = {.images = r->images,
                            .rows = r->rows,
                            .in_row = c->in_w * c->in_c,
                            .grad = grad + r->row * c->out_w * c->out_c,
                            .grad_row = c->out_w * c->out_c,
                            .grad_image = count,
                            .sums = sums,
                            .scratch = copy + run->grad_window};
  call.in = input_of(b, r, scratch, &call.in_image);
  if (!grad_in_place(c)) {
    call.grad = copy;
    call.grad_row = columns * c->out_c;
    call.grad_image = rows * call.grad_row;
    for (int64_t n = 0; n < r->images; n++)
      mt_copy_window(grad + n * count, size, c->out_c, r->row, rows, 0, columns, copy + n * call.grad_image);
  }
  mt_conv_weight_grad(c, &call);
}

/* Each thread's units are its own, because its sums are. */
static void grad_parts(const void *context, int64_t begin, int64_t end) {
  const grad_run *run = context;
  const batch_cut *cut = run->cut;
  const int64_t sum_floats = mt_conv_sum_floats(run->batch->conv);
  for (int64_t t = begin; t < end; t++) {
    float *sums = run->sums + t * sum_floats;
    memset(sums, 0, (size_t)sum_floats * sizeof(float));
    for (int64_t u = cut->units * t / cut->threads; u < cut->units * (t + 1) / cut->threads; u++) {
      const unit_range r = range_of(run->batch, cut, u);
      grad_unit(run, &r, run->scratch + t * run->scratch_floats, sums);
    }
  }
}

static batch_cut cut_for_grad(const mt_conv_batch *b) {
  const mt_conv *c = b->conv;
  const int64_t sums = 4 * mt_conv_sum_floats(c) * (int64_t)sizeof(float);
  const int64_t target = mt_min64(mt_max64(sums, GRAD_MIN_BYTES), GRAD_MAX_BYTES);
  batch_cut cut = cut_batch(b, mt_max64(c->lot, target / mt_max64(image_bytes(c), 1)), target);
  cut.threads = (int)mt_min64(cut.threads, cut.units);
  return cut;
}

int mt_conv_batch_weight_grad(const mt_conv_batch *b, const float *grad, float *weight_grad) {
  const mt_conv *c = b->conv;
  const int64_t weights = mt_conv_taps(c) * c->out_c;
  if (b->images * c->out_h * c->out_w * weights == 0) {
    memset(weight_grad, 0, (size_t)weights * sizeof(float));
    return 0;
  }
  const batch_cut cut = cut_for_grad(b);
  const int64_t grad_pixels = mt_conv_grad_reach(c, cut.rows) * mt_conv_grad_reach(c, c->out_w);
  grad_run run = {.batch = b, .cut = &cut, .grad = grad, .window = in_place(b) ? 0 : window_floats(b, &cut)};
  run.grad_window = grad_in_place(c) ? 0 : mt_rounded_floats(cut.lot * grad_pixels * c->out_c);
  run.scratch_floats = run.window + run.grad_window + mt_rounded_floats(mt_conv_scratch_floats(c));
  run.scratch = mt_alloc((size_t)(cut.threads * run.scratch_floats) * sizeof(float));
  run.sums = run.scratch ? mt_alloc((size_t)(cut.threads * mt_conv_sum_floats(c)) * sizeof(float)) : NULL;
  int status = run.sums ? 0 : -1;
  if (status == 0) {
    mt_parallel(cut.threads, 1, grad_parts, &run);
    status = mt_conv_weight_result(c, run.sums, cut.threads, weight_grad);
  }
  mt_free(run.scratch);
  mt_free(run.sums);
  return status;
}
