/* Rows of the smaller side are walked: each of its pixels is one copy of C floats, forward into the middle of the
 * output's channels, backward out of it. Every other float of the result is zero. */
#include "ops/shortcut.h"

#include <string.h>

#include "autograd/tape.h"
#include "core/threads.h"

#define PARALLEL_FROM ((int64_t)1 << 14)

typedef struct {
  int64_t stride, padding;
  int64_t in[4], out[4]; /* N,H,W,C */
} shortcut_context;

static void forward_row(const shortcut_context *s, const float *in, float *out) {
  const int64_t channels = s->in[3], side = s->padding, step = s->stride * channels;
  for (int64_t x = 0; x < s->out[2]; x++, in += step, out += s->out[3]) {
    memset(out, 0, (size_t)side * sizeof(float));
    memcpy(out + side, in, (size_t)channels * sizeof(float));
    memset(out + side + channels, 0, (size_t)side * sizeof(float));
  }
}

static void backward_row(const shortcut_context *s, const float *grad, float *out) {
  const int64_t channels = s->in[3], step = s->stride * channels;
  for (int64_t x = 0; x < s->out[2]; x++, grad += s->out[3], out += step)
    memcpy(out, grad + s->padding, (size_t)channels * sizeof(float));
}

typedef struct {
  const shortcut_context *s;
  const float *from;
  float *to;
} row_work;

static void forward_rows(const void *context, int64_t begin, int64_t end) {
  const row_work *w = context;
  const shortcut_context *s = w->s;
  const int64_t in_row = s->in[2] * s->in[3], out_row = s->out[2] * s->out[3];
  for (int64_t r = begin; r < end; r++) {
    const int64_t n = r / s->out[1], y = r % s->out[1] * s->stride;
    forward_row(s, w->from + (n * s->in[1] + y) * in_row, w->to + r * out_row);
  }
}

static void backward_rows(const void *context, int64_t begin, int64_t end) {
  const row_work *w = context;
  const shortcut_context *s = w->s;
  const int64_t in_row = s->in[2] * s->in[3], out_row = s->out[2] * s->out[3];
  for (int64_t r = begin; r < end; r++) {
    const int64_t n = r / s->in[1], y = r % s->in[1];
    float *to = w->to + r * in_row;
    memset(to, 0, (size_t)in_row * sizeof(float));
    if (y % s->stride == 0) backward_row(s, w->from + (n * s->out[1] + y / s->stride) * out_row, to);
  }
}

static int shortcut_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grad_inputs) {
  const shortcut_context *s = node->context;
  mt_tensor *dx = grad_inputs[0] = mt_tensor_new(MT_FLOAT32, 4, s->in);
  if (!dx) return -1;
  const int64_t rows = s->in[0] * s->in[1];
  mt_parallel(rows, mt_chunk(rows, s->in[2] * s->in[3], PARALLEL_FROM), backward_rows,
              &(row_work){s, mt_f32(grad_output), mt_f32(dx)});
  return 0;
}

static const mt_op shortcut_op = {.name = "shortcut", .backward = shortcut_backward};

static int check(const mt_tensor *input, int64_t stride, int64_t padding) {
  if (mt_expect_dtype(input, MT_FLOAT32, "shortcut", "input") < 0 ||
      mt_expect_ndim(input, 4, "shortcut", "input", "{N,H,W,C}") < 0)
    return -1;
  if (stride < 1) return mt_fail(MT_ERROR_ARGUMENT, "shortcut: stride is %lld, expected >= 1", (long long)stride);
  if (padding < 0) return mt_fail(MT_ERROR_ARGUMENT, "shortcut: padding is %lld, expected >= 0", (long long)padding);
  return 0;
}

mt_tensor *mt_shortcut(mt_tensor *input, int64_t stride, int64_t padding) {
  if (check(input, stride, padding) < 0) return NULL;
  shortcut_context s = {.stride = stride, .padding = padding};
  memcpy(s.in, input->shape, sizeof s.in);
  const int64_t out[4] = {s.in[0], (s.in[1] + stride - 1) / stride, (s.in[2] + stride - 1) / stride,
                          s.in[3] + 2 * padding};
  memcpy(s.out, out, sizeof s.out);
  mt_tensor *output = mt_tensor_new(MT_FLOAT32, 4, s.out);
  if (!output) return NULL;
  const int64_t rows = s.out[0] * s.out[1];
  mt_parallel(rows, mt_chunk(rows, s.out[2] * s.out[3], PARALLEL_FROM), forward_rows,
              &(row_work){&s, mt_f32(input), mt_f32(output)});
  return mt_recorded(output, &shortcut_op, 1, &input, 0, NULL, &s, sizeof s);
}
