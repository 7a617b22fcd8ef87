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

static int threads_for(int64_t values) { return values < PARALLEL_FROM ? 1 : mt_num_threads(); }

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

/* ---- maximum ---- */

static mt_tensor *max_forward(const pool_context *p, const mt_tensor *input, mt_tensor *index) {
  const mt_pool_shape *s = &p->shape;
  mt_tensor *output = new_images(MT_FLOAT32, p->images, s->out_size, s->channels);
  if (!output) return NULL;
  const int64_t rows = p->images * s->out_size[0];
  const int64_t in_image = image_count(s->in_size, s->channels), out_image = image_count(s->out_size, s->channels);
#pragma omp parallel for num_threads(threads_for(input->count)) schedule(static)
  for (int64_t r = 0; r < rows; r++) {
    const int64_t n = r / s->out_size[0];
    void *positions = index ? (char *)index->data + (size_t)(n * out_image) * mt_dtype_size(index->dtype) : NULL;
    mt_kernels->max_pool_row(s, mt_f32(input) + n * in_image, r % s->out_size[0], mt_f32(output) + n * out_image,
                             positions);
  }
  return output;
}

static int max_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const pool_context *p = node->context;
  const mt_pool_shape *s = &p->shape;
  const mt_tensor *index = node->saved[0];
  mt_tensor *result = new_images(MT_FLOAT32, p->images, s->in_size, s->channels);
  if (!result) return -1;
  const int64_t rows = p->images * s->in_size[0];
  const int64_t in_image = image_count(s->in_size, s->channels), out_image = image_count(s->out_size, s->channels);
#pragma omp parallel for num_threads(threads_for(result->count)) schedule(static)
  for (int64_t r = 0; r < rows; r++) {
    const int64_t n = r / s->in_size[0];
    mt_kernels->max_pool_grad_row(s, mt_f32(grad_output) + n * out_image,
                                  (const char *)index->data + (size_t)(n * out_image) * mt_dtype_size(index->dtype),
                                  r % s->in_size[0], mt_f32(result) + n * in_image);
  }
  grads[0] = result;
  return 0;
}

static const mt_op max_op = {"max_pool2d", max_backward, NULL};

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

static mt_tensor *avg_forward(const pool_context *p, const mt_tensor *input) {
  const mt_pool_shape *s = &p->shape;
  mt_tensor *output = new_images(MT_FLOAT32, p->images, s->out_size, s->channels);
  if (!output) return NULL;
  const int64_t rows = p->images * s->out_size[0];
  const int64_t in_image = image_count(s->in_size, s->channels), out_image = image_count(s->out_size, s->channels);
#pragma omp parallel for num_threads(threads_for(input->count)) schedule(static)
  for (int64_t r = 0; r < rows; r++) {
    const int64_t n = r / s->out_size[0];
    mt_kernels->avg_pool_row(s, mt_f32(input) + n * in_image, r % s->out_size[0], mt_f32(output) + n * out_image);
  }
  return output;
}

static int avg_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const pool_context *p = node->context;
  const mt_pool_shape *s = &p->shape;
  mt_tensor *result = new_images(MT_FLOAT32, p->images, s->in_size, s->channels);
  if (!result) return -1;
  const int64_t rows = p->images * s->in_size[0];
  const int64_t in_image = image_count(s->in_size, s->channels), out_image = image_count(s->out_size, s->channels);
#pragma omp parallel for num_threads(threads_for(result->count)) schedule(static)
  for (int64_t r = 0; r < rows; r++) {
    const int64_t n = r / s->in_size[0];
    mt_kernels->avg_pool_grad_row(s, mt_f32(grad_output) + n * out_image, r % s->in_size[0],
                                  mt_f32(result) + n * in_image);
  }
  grads[0] = result;
  return 0;
}

static const mt_op avg_op = {"avg_pool2d", avg_backward, NULL};

mt_tensor *mt_avg_pool2d(mt_tensor *input, const mt_pool2d_params *params) {
  pool_context p = {0};
  if (pool_shape("avg_pool2d", input, params, &p.shape) < 0) return NULL;
  p.images = input->shape[0];
  return mt_recorded(avg_forward(&p, input), &avg_op, 1, &input, 0, NULL, &p, sizeof p);
}

/* ---- the mean of whole images ---- */

/* Sums in float run over this many pixels before they are added up: rounding stays small for large images. */
#define MEAN_BLOCK 256

static void mean_of_image(const float *image, int64_t pixels, int64_t channels, float *part, float *mean) {
  memset(mean, 0, (size_t)channels * sizeof(float));
  for (int64_t p = 0; p < pixels; p += MEAN_BLOCK) {
    mt_kernels->channel_sums(image + p * channels, pixels - p < MEAN_BLOCK ? pixels - p : MEAN_BLOCK, channels, part);
    for (int64_t c = 0; c < channels; c++) mean[c] += part[c];
  }
  for (int64_t c = 0; c < channels; c++) mean[c] /= (float)pixels;
}

static int mean_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const int64_t *in = node->context, channels = in[3], pixels = in[1] * in[2];
  mt_tensor *result = mt_tensor_new(MT_FLOAT32, 4, in);
  if (!result) return -1;
#pragma omp parallel for num_threads(threads_for(result->count)) schedule(static)
  for (int64_t n = 0; n < in[0]; n++) {
    const float *g = mt_f32(grad_output) + n * channels;
    float *first = mt_f32(result) + n * pixels * channels;
    for (int64_t c = 0; c < channels; c++) first[c] = g[c] / (float)pixels;
    for (int64_t p = 1; p < pixels; p++) memcpy(first + p * channels, first, (size_t)channels * sizeof(float));
  }
  grads[0] = result;
  return 0;
}

static const mt_op mean_op = {"global_avg_pool", mean_backward, NULL};

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
  const int threads = threads_for(input->count);
  float *parts = output ? mt_alloc((size_t)(threads * channels) * sizeof(float)) : NULL;
  if (!parts) {
    mt_release(output);
    return NULL;
  }
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int t = 0; t < threads; t++)
    for (int64_t n = images * t / threads; n < images * (t + 1) / threads; n++)
      mean_of_image(mt_f32(input) + n * pixels * channels, pixels, channels, parts + t * channels,
                    mt_f32(output) + n * channels);
  mt_free(parts);
  return mt_recorded(output, &mean_op, 1, &input, 0, NULL, input->shape, 4 * sizeof input->shape[0]);
}
