/* Pooling. Rows of the output (forward) or of the input's gradient (backward) are shared out among the threads; each
 * is computed by one thread in one order. Max pooling keeps the position of the winner within its window. */
#include "ops/pool.h"

#include <string.h>

#include "autograd/tape.h"
#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"

#define PARALLEL_FROM ((int64_t)1 << 14) /* values */
#define MAX_EXTENT ((int64_t)1 << 30)    /* of kernel, stride and padding: keeps sums of them from overflowing */

/* ---- shapes ---- */

static int pair_error(const char *op, const char *name, const int64_t pair[2], const char *expected) {
  return mt_fail(MT_ERROR_ARGUMENT, "%s: %s is {%lld,%lld}, expected %s", op, name, (long long)pair[0],
                 (long long)pair[1], expected);
}

static int64_t output_size(const mt_pool_shape *s, int axis, bool ceil_mode) {
  const int64_t padded = s->in_size[axis] + 2 * s->padding[axis], stride = s->stride[axis];
  const int64_t span = padded - mt_pool_extent(s, axis), size = (span + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  const bool outside = (size - 1) * stride >= s->in_size[axis] + s->padding[axis];
  return ceil_mode && outside ? size - 1 : size;
}

static int check_axis(const char *op, mt_pool_shape *s, int axis, bool ceil_mode) {
  if (s->kernel[axis] < 1 || s->kernel[axis] > MAX_EXTENT) return pair_error(op, "kernel", s->kernel, "at least 1");
  if (s->stride[axis] < 1 || s->stride[axis] > MAX_EXTENT) return pair_error(op, "stride", s->stride, "at least 1");
  if (s->dilation[axis] < 1 || s->dilation[axis] > MAX_EXTENT)
    return pair_error(op, "dilation", s->dilation, "at least 1");
  if (s->padding[axis] < 0 || s->padding[axis] > s->kernel[axis] / 2)
    return pair_error(op, "padding", s->padding, "0 to half the kernel");
  if (s->in_size[axis] + 2 * s->padding[axis] < mt_pool_extent(s, axis))
    return mt_fail(MT_ERROR_ARGUMENT, "%s: kernel is {%lld,%lld}, expected at most the padded input's %lld x %lld", op,
                   (long long)mt_pool_extent(s, 0), (long long)mt_pool_extent(s, 1),
                   (long long)(s->in_size[0] + 2 * s->padding[0]), (long long)(s->in_size[1] + 2 * s->padding[1]));
  s->out_size[axis] = output_size(s, axis, ceil_mode);
  return 0;
}

static int pool_shape(const char *op, const mt_tensor *input, const mt_pool2d_params *p, mt_pool_shape *s) {
  if (mt_expect_dtype(input, MT_FLOAT32, op, "input") < 0 || mt_expect_ndim(input, 4, op, "input", "{N,H,W,C}") < 0)
    return -1;
  s->channels = input->shape[3];
  s->ignore_pad = p->ignore_pad;
  for (int i = 0; i < 2; i++) {
    s->in_size[i] = input->shape[1 + i];
    s->kernel[i] = p->kernel[i];
    s->stride[i] = p->stride[i];
    s->padding[i] = p->padding[i];
    s->dilation[i] = p->dilation[i] == 0 ? 1 : p->dilation[i];
  }
  for (int i = 0; i < 2; i++)
    if (check_axis(op, s, i, p->ceil_mode) < 0) return -1;
  return 0;
}

static mt_tensor *new_images(mt_dtype dtype, int64_t images, const int64_t size[2], int64_t channels) {
  return mt_tensor_new(dtype, 4, (const int64_t[4]){images, size[0], size[1], channels});
}

static int64_t image_count(const int64_t size[2], int64_t channels) { return size[0] * size[1] * channels; }

/* What backward needs to know. */
typedef struct {
  mt_pool_shape shape;
  int64_t images;
} pool_context;

/* Rows of the output made from rows of the input, or (gradients) the other way round. */
typedef struct {
  const mt_pool_shape *shape;
  const float *from;
  float *to;
  char *index; /* of the maxima; NULL: none */
  size_t index_size;
  int64_t in_image, out_image;
} row_work;

/* `rows` of all images together; `values`: of the tensor that is larger. */
static void run_rows(const pool_context *p, int64_t rows, int64_t values, mt_loop_body *body, const float *from,
                     float *to, const mt_tensor *index) {
  const mt_pool_shape *s = &p->shape;
  const row_work work = {.shape = s,
                         .from = from,
                         .to = to,
                         .index = index ? index->data : NULL,
                         .index_size = index ? mt_dtype_size(index->dtype) : 0,
                         .in_image = image_count(s->in_size, s->channels),
                         .out_image = image_count(s->out_size, s->channels)};
  mt_parallel(rows, mt_chunk(rows, rows > 0 ? values / rows : 0, PARALLEL_FROM), body, &work);
}

/* ---- maximum ---- */

static void max_rows(const void *context, int64_t begin, int64_t end) {
  const row_work *w = context;
  for (int64_t r = begin; r < end; r++) {
    const int64_t n = r / w->shape->out_size[0];
    mt_kernels->max_pool_row(w->shape, w->from + n * w->in_image, r % w->shape->out_size[0], w->to + n * w->out_image,
                             w->shape->out_size[1] * w->shape->channels,
                             w->index ? w->index + (size_t)(n * w->out_image) * w->index_size : NULL);
  }
}

static void max_grad_rows(const void *context, int64_t begin, int64_t end) {
  const row_work *w = context;
  for (int64_t r = begin; r < end; r++) {
    const int64_t n = r / w->shape->in_size[0];
    mt_kernels->max_pool_grad_row(w->shape, w->from + n * w->out_image,
                                  w->index + (size_t)(n * w->out_image) * w->index_size, r % w->shape->in_size[0],
                                  w->to + n * w->in_image);
  }
}

static mt_tensor *max_forward(const pool_context *p, const mt_tensor *input, mt_tensor *index) {
  mt_tensor *output = new_images(MT_FLOAT32, p->images, p->shape.out_size, p->shape.channels);
  if (!output) return NULL;
  run_rows(p, p->images * p->shape.out_size[0], input->count, max_rows, mt_f32(input), mt_f32(output), index);
  return output;
}

static int max_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const pool_context *p = node->context;
  mt_tensor *result = grads[0] = new_images(MT_FLOAT32, p->images, p->shape.in_size, p->shape.channels);
  if (!result) return -1;
  run_rows(p, p->images * p->shape.in_size[0], result->count, max_grad_rows, mt_f32(grad_output), mt_f32(result),
           node->saved[0]);
  return 0;
}

static const mt_op max_op = {.name = "max_pool2d", .backward = max_backward};

mt_tensor *mt_max_pool2d(mt_tensor *input, const mt_pool2d_params *params) {
  pool_context p = {0};
  if (pool_shape("max_pool2d", input, params, &p.shape) < 0) return NULL;
  p.images = input->shape[0];
  mt_tensor *index = NULL;
  if (mt_needs_grad(input)) {
    const mt_dtype dtype = mt_pool_index_is_wide(&p.shape) ? MT_INT32 : MT_UINT8;
    index = new_images(dtype, p.images, p.shape.out_size, p.shape.channels);
    if (!index) return NULL;
  }
  mt_tensor *output = mt_recorded(max_forward(&p, input, index), &max_op, 1, &input, 1, &index, &p, sizeof p);
  mt_release(index);
  return output;
}

/* ---- average ---- */

static void avg_rows(const void *context, int64_t begin, int64_t end) {
  const row_work *w = context;
  for (int64_t r = begin; r < end; r++) {
    const int64_t n = r / w->shape->out_size[0];
    mt_kernels->avg_pool_row(w->shape, w->from + n * w->in_image, r % w->shape->out_size[0], w->to + n * w->out_image);
  }
}

static void avg_grad_rows(const void *context, int64_t begin, int64_t end) {
  const row_work *w = context;
  for (int64_t r = begin; r < end; r++) {
    const int64_t n = r / w->shape->in_size[0];
    mt_kernels->avg_pool_grad_row(w->shape, w->from + n * w->out_image, r % w->shape->in_size[0],
                                  w->to + n * w->in_image);
  }
}

static mt_tensor *avg_forward(const pool_context *p, const mt_tensor *input) {
  mt_tensor *output = new_images(MT_FLOAT32, p->images, p->shape.out_size, p->shape.channels);
  if (!output) return NULL;
  run_rows(p, p->images * p->shape.out_size[0], input->count, avg_rows, mt_f32(input), mt_f32(output), NULL);
  return output;
}

static int avg_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const pool_context *p = node->context;
  mt_tensor *result = grads[0] = new_images(MT_FLOAT32, p->images, p->shape.in_size, p->shape.channels);
  if (!result) return -1;
  run_rows(p, p->images * p->shape.in_size[0], result->count, avg_grad_rows, mt_f32(grad_output), mt_f32(result), NULL);
  return 0;
}

static const mt_op avg_op = {.name = "avg_pool2d", .backward = avg_backward};

mt_tensor *mt_avg_pool2d(mt_tensor *input, const mt_pool2d_params *params) {
  pool_context p = {0};
  if (pool_shape("avg_pool2d", input, params, &p.shape) < 0) return NULL;
  p.images = input->shape[0];
  return mt_recorded(avg_forward(&p, input), &avg_op, 1, &input, 0, NULL, &p, sizeof p);
}

/* ---- the mean of whole images ---- */

/* Sums in float run over this many pixels before they are added up: rounding stays small for large images. */
#define MEAN_BLOCK 256

typedef struct {
  const float *from;
  float *to;
  float *parts; /* channels of each worker */
  int64_t pixels, channels;
} mean_work;

static void mean_of_image(const float *image, int64_t pixels, int64_t channels, float *part, float *mean) {
  memset(mean, 0, (size_t)channels * sizeof(float));
  for (int64_t p = 0; p < pixels; p += MEAN_BLOCK) {
    mt_kernels->channel_sums(image + p * channels, pixels - p < MEAN_BLOCK ? pixels - p : MEAN_BLOCK, channels, part);
    for (int64_t c = 0; c < channels; c++) mean[c] += part[c];
  }
  for (int64_t c = 0; c < channels; c++) mean[c] /= (float)pixels;
}

static void mean_images(const void *context, int64_t begin, int64_t end) {
  const mean_work *w = context;
  for (int64_t n = begin; n < end; n++)
    mean_of_image(w->from + n * w->pixels * w->channels, w->pixels, w->channels, w->parts + mt_worker() * w->channels,
                  w->to + n * w->channels);
}

static void spread_images(const void *context, int64_t begin, int64_t end) {
  const mean_work *w = context;
  const int64_t channels = w->channels;
  for (int64_t n = begin; n < end; n++) {
    const float *g = w->from + n * channels;
    float *first = w->to + n * w->pixels * channels;
    for (int64_t c = 0; c < channels; c++) first[c] = g[c] / (float)w->pixels;
    for (int64_t p = 1; p < w->pixels; p++) memcpy(first + p * channels, first, (size_t)channels * sizeof(float));
  }
}

static int mean_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const int64_t *in = node->context, channels = in[3], pixels = in[1] * in[2];
  mt_tensor *result = grads[0] = mt_tensor_new(MT_FLOAT32, 4, in);
  if (!result) return -1;
  const mean_work work = {.from = mt_f32(grad_output), .to = mt_f32(result), .pixels = pixels, .channels = channels};
  mt_parallel(in[0], mt_chunk(in[0], pixels * channels, PARALLEL_FROM), spread_images, &work);
  return 0;
}

static const mt_op mean_op = {.name = "global_avg_pool", .backward = mean_backward};

mt_tensor *mt_global_avg_pool(mt_tensor *input) {
  char text[MT_SHAPE_TEXT];
  if (mt_expect_dtype(input, MT_FLOAT32, "global_avg_pool", "input") < 0 ||
      mt_expect_ndim(input, 4, "global_avg_pool", "input", "{N,H,W,C}") < 0)
    return NULL;
  const int64_t images = input->shape[0], pixels = input->shape[1] * input->shape[2], channels = input->shape[3];
  if (pixels == 0)
    return mt_fail_null(MT_ERROR_ARGUMENT, "global_avg_pool: input has shape %s, expected at least one pixel",
                        mt_shape_text(4, input->shape, text));
  mt_tensor *output = mt_tensor_new(MT_FLOAT32, 2, (const int64_t[2]){images, channels});
  float *parts = output ? mt_alloc((size_t)(mt_num_threads() * channels) * sizeof(float)) : NULL;
  if (!parts) {
    mt_release(output);
    return NULL;
  }
  const mean_work work = {mt_f32(input), mt_f32(output), parts, pixels, channels};
  mt_parallel(images, mt_chunk(images, pixels * channels, PARALLEL_FROM), mean_images, &work);
  mt_free(parts);
  return mt_recorded(output, &mean_op, 1, &input, 0, NULL, input->shape, 4 * sizeof input->shape[0]);
}
