/* Both directions copy a window of each image: forward one that is larger than it, backward the part that it was. */
#include "ops/zero_pad.h"

#include "autograd/tape.h"
#include "conv/batch.h"
#include "core/threads.h"

#define PARALLEL_FROM ((int64_t)1 << 15)
#define MAX_EXTENT ((int64_t)1 << 30)

typedef struct {
  int64_t shape[4]; /* of the input */
  mt_sides sides;
} pad_context;

typedef struct {
  const mt_tensor *from;
  int64_t top, left;
  mt_tensor *to;
} window_copy;

static void copy_range(const void *context, int64_t begin, int64_t end) {
  const window_copy *w = context;
  const int64_t *in = w->from->shape, *out = w->to->shape;
  for (int64_t n = begin; n < end; n++)
    mt_copy_window(mt_f32(w->from) + n * in[1] * in[2] * in[3], in + 1, in[3], w->top, out[1], w->left, out[2],
                   mt_f32(w->to) + n * out[1] * out[2] * out[3]);
}

static void copy_windows(const mt_tensor *from, int64_t top, int64_t left, mt_tensor *to) {
  const int64_t *out = to->shape;
  mt_parallel(out[0], mt_chunk(out[0], out[1] * out[2] * out[3], PARALLEL_FROM), copy_range,
              &(window_copy){from, top, left, to});
}

static int pad_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const pad_context *c = node->context;
  mt_tensor *result = grads[0] = mt_tensor_new(MT_FLOAT32, 4, c->shape);
  if (!result) return -1;
  copy_windows(grad_output, c->sides.top, c->sides.left, result);
  return 0;
}

static const mt_op pad_op = {.name = "zero_pad2d", .backward = pad_backward};

mt_tensor *mt_zero_pad2d(mt_tensor *input, mt_sides sides) {
  if (mt_expect_dtype(input, MT_FLOAT32, "zero_pad2d", "input") < 0 ||
      mt_expect_ndim(input, 4, "zero_pad2d", "input", "{N,H,W,C}") < 0)
    return NULL;
  const int64_t all[] = {sides.top, sides.bottom, sides.left, sides.right}, *in = input->shape;
  for (int i = 0; i < 4; i++)
    if (all[i] < 0 || all[i] > MAX_EXTENT)
      return mt_fail_null(MT_ERROR_ARGUMENT, "zero_pad2d: padding is %lld, expected 0 to %lld", (long long)all[i],
                          (long long)MAX_EXTENT);
  const int64_t shape[] = {in[0], sides.top + in[1] + sides.bottom, sides.left + in[2] + sides.right, in[3]};
  pad_context context = {{in[0], in[1], in[2], in[3]}, sides};
  mt_tensor *output = mt_tensor_new(MT_FLOAT32, 4, shape);
  if (output) copy_windows(input, -sides.top, -sides.left, output);
  return mt_recorded(output, &pad_op, 1, &input, 0, NULL, &context, sizeof context);
}
