/* Images are shared out among the threads, forward and backward: windows may overlap. */
#include "ops/adaptive_pool.h"

#include <math.h>
#include <string.h>

#include "autograd/tape.h"
#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"

#define PARALLEL_FROM ((int64_t)1 << 14) /* values */

typedef struct {
  int64_t images, in[2], out[2], channels;
} shape_of_pool;

/* The pixels of an axis that an output covers: [begin, end). */
typedef struct {
  int64_t begin, end;
} range;

static range covered(const shape_of_pool *s, int axis, int64_t o) {
  return (range){o * s->in[axis] / s->out[axis], ((o + 1) * s->in[axis] + s->out[axis] - 1) / s->out[axis]};
}

static int64_t in_image(const shape_of_pool *s) { return s->in[0] * s->in[1] * s->channels; }
static int64_t out_image(const shape_of_pool *s) { return s->out[0] * s->out[1] * s->channels; }

/* Images from one side of the pool to the other. */
typedef struct {
  const shape_of_pool *s;
  const float *from;
  float *to;
  int32_t *index; /* of the maxima */
  float *rows;    /* channels of each worker, and as many sums */
  double *sums;
} image_work;

static void over_images(const image_work *w, mt_loop_body *body) {
  const shape_of_pool *s = w->s;
  mt_parallel(s->images, mt_chunk(s->images, in_image(s) + out_image(s), PARALLEL_FROM), body, w);
}

static int check(const char *op, const mt_tensor *input, const int64_t size[2], shape_of_pool *s) {
  char text[MT_SHAPE_TEXT];
  if (mt_expect_dtype(input, MT_FLOAT32, op, "input") < 0 || mt_expect_ndim(input, 4, op, "input", "{N,H,W,C}") < 0)
    return -1;
  *s = (shape_of_pool){.images = input->shape[0], .channels = input->shape[3]};
  for (int i = 0; i < 2; i++) {
    s->in[i] = input->shape[1 + i];
    s->out[i] = size[i] > 0 ? size[i] : s->in[i];
  }
  if (s->in[0] > 0 && s->in[1] > 0) return 0;
  return mt_fail(MT_ERROR_ARGUMENT, "%s: input has shape %s, expected at least one pixel", op,
                 mt_shape_text(4, input->shape, text));
}

static mt_tensor *new_output(mt_dtype dtype, const shape_of_pool *s) {
  return mt_tensor_new(dtype, 4, (const int64_t[]){s->images, s->out[0], s->out[1], s->channels});
}

static mt_tensor *new_input(const shape_of_pool *s) {
  return mt_tensor_zeros(MT_FLOAT32, 4, (const int64_t[]){s->images, s->in[0], s->in[1], s->channels});
}

/* Calls BODY(ys, xs, at) for every window: `at` is its place in an image of the output. */
#define EACH_WINDOW(s, BODY)                                      \
  for (int64_t oy = 0; oy < (s)->out[0]; oy++)                    \
    for (int64_t ox = 0; ox < (s)->out[1]; ox++) {                \
      const range ys = covered(s, 0, oy), xs = covered(s, 1, ox); \
      const int64_t at = (oy * (s)->out[1] + ox) * (s)->channels; \
      BODY;                                                       \
    }

/* ---- average ---- */

/* Rows are summed in float, the rows' sums in double. */
static void mean_of_window(const shape_of_pool *s, const float *image, range ys, range xs, float *row, double *sums,
                           float *mean) {
  memset(sums, 0, (size_t)s->channels * sizeof *sums);
  for (int64_t y = ys.begin; y < ys.end; y++) {
    mt_kernels->channel_sums(image + (y * s->in[1] + xs.begin) * s->channels, xs.end - xs.begin, s->channels, row);
    for (int64_t c = 0; c < s->channels; c++) sums[c] += (double)row[c];
  }
  const double area = (double)((ys.end - ys.begin) * (xs.end - xs.begin));
  for (int64_t c = 0; c < s->channels; c++) mean[c] = (float)(sums[c] / area);
}

static void avg_images(const void *context, int64_t begin, int64_t end) {
  const image_work *w = context;
  const shape_of_pool *s = w->s;
  float *row = w->rows + mt_worker() * s->channels;
  double *sums = w->sums + mt_worker() * s->channels;
  for (int64_t n = begin; n < end; n++)
    EACH_WINDOW(s, mean_of_window(s, w->from + n * in_image(s), ys, xs, row, sums, w->to + n * out_image(s) + at));
}

static int avg_fill(const shape_of_pool *s, const float *in, float *out) {
  const int64_t sums = mt_num_threads() * s->channels;
  image_work work = {.s = s, .from = in, .to = out};
  work.sums = mt_alloc((size_t)sums * (sizeof(double) + sizeof(float)));
  if (!work.sums) return -1;
  work.rows = (float *)(work.sums + sums);
  over_images(&work, avg_images);
  mt_free(work.sums);
  return 0;
}

static void spread(const shape_of_pool *s, const float *grad, range ys, range xs, float *image) {
  const float area = (float)((ys.end - ys.begin) * (xs.end - xs.begin));
  for (int64_t y = ys.begin; y < ys.end; y++)
    for (int64_t x = xs.begin; x < xs.end; x++)
      for (int64_t c = 0; c < s->channels; c++) image[(y * s->in[1] + x) * s->channels + c] += grad[c] / area;
}

static void spread_images(const void *context, int64_t begin, int64_t end) {
  const image_work *w = context;
  const shape_of_pool *s = w->s;
  for (int64_t n = begin; n < end; n++)
    EACH_WINDOW(s, spread(s, w->from + n * out_image(s) + at, ys, xs, w->to + n * in_image(s)));
}

static int avg_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const shape_of_pool *s = node->context;
  mt_tensor *result = grads[0] = new_input(s);
  if (!result) return -1;
  over_images(&(image_work){.s = s, .from = mt_f32(grad_output), .to = mt_f32(result)}, spread_images);
  return 0;
}

static const mt_op avg_op = {.name = "adaptive_avg_pool2d", .backward = avg_backward};

mt_tensor *mt_adaptive_avg_pool2d(mt_tensor *input, const int64_t size[2]) {
  shape_of_pool s;
  if (check("adaptive_avg_pool2d", input, size, &s) < 0) return NULL;
  mt_tensor *output = new_output(MT_FLOAT32, &s);
  if (output && avg_fill(&s, mt_f32(input), mt_f32(output)) < 0) {
    mt_release(output);
    return NULL;
  }
  return mt_recorded(output, &avg_op, 1, &input, 0, NULL, &s, sizeof s);
}

/* ---- maximum ---- */

/* index: the winners' pixels in the image. */
static void max_of_window(const shape_of_pool *s, const float *image, range ys, range xs, float *out, int32_t *index) {
  for (int64_t c = 0; c < s->channels; c++) {
    out[c] = -INFINITY;
    index[c] = (int32_t)(ys.begin * s->in[1] + xs.begin);
  }
  for (int64_t y = ys.begin; y < ys.end; y++) {
    for (int64_t x = xs.begin; x < xs.end; x++) {
      const int64_t pixel = y * s->in[1] + x;
      const float *value = image + pixel * s->channels;
      for (int64_t c = 0; c < s->channels; c++) {
        if (!(value[c] > out[c] || value[c] != value[c])) continue;
        out[c] = value[c];
        index[c] = (int32_t)pixel;
      }
    }
  }
}

static void give_to_winners(const shape_of_pool *s, const float *grad, const int32_t *index, float *image) {
  for (int64_t c = 0; c < s->channels; c++) image[index[c] * s->channels + c] += grad[c];
}

static void max_images(const void *context, int64_t begin, int64_t end) {
  const image_work *w = context;
  const shape_of_pool *s = w->s;
  for (int64_t n = begin; n < end; n++)
    EACH_WINDOW(s, max_of_window(s, w->from + n * in_image(s), ys, xs, w->to + n * out_image(s) + at,
                                 w->index + n * out_image(s) + at));
}

static void winner_images(const void *context, int64_t begin, int64_t end) {
  const image_work *w = context;
  const shape_of_pool *s = w->s;
  for (int64_t at = begin * out_image(s); at < end * out_image(s); at += s->channels)
    give_to_winners(s, w->from + at, w->index + at, w->to + at / out_image(s) * in_image(s));
}

static int max_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const shape_of_pool *s = node->context;
  mt_tensor *result = grads[0] = new_input(s);
  if (!result) return -1;
  const image_work work = {.s = s, .from = mt_f32(grad_output), .to = mt_f32(result), .index = mt_i32(node->saved[0])};
  if (s->channels > 0) over_images(&work, winner_images);
  return 0;
}

static const mt_op max_op = {.name = "adaptive_max_pool2d", .backward = max_backward};

mt_tensor *mt_adaptive_max_pool2d(mt_tensor *input, const int64_t size[2]) {
  shape_of_pool s;
  if (check("adaptive_max_pool2d", input, size, &s) < 0) return NULL;
  if (s.in[0] * s.in[1] > INT32_MAX)
    return mt_fail_null(MT_ERROR_ARGUMENT, "adaptive_max_pool2d: input has %lld pixels, expected at most %d",
                        (long long)(s.in[0] * s.in[1]), INT32_MAX);
  mt_tensor *output = new_output(MT_FLOAT32, &s), *index = new_output(MT_INT32, &s);
  if (!output || !index) {
    mt_release(output);
    mt_release(index);
    return NULL;
  }
  over_images(&(image_work){.s = &s, .from = mt_f32(input), .to = mt_f32(output), .index = mt_i32(index)}, max_images);
  output = mt_recorded(output, &max_op, 1, &input, 1, &index, &s, sizeof s);
  mt_release(index);
  return output;
}
