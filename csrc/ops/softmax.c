/* softmax and log_softmax over (outer, n, inner), in rows of n where inner is 1, else in blocks of columns. Both
 * gradients need only the output. */
#include "ops/softmax.h"

#include "autograd/tape.h"
#include "core/stream.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "ops/shape.h"

#define PARALLEL_FROM 8192 /* elements */
#define STREAMED_ROW 2048  /* elements of a row that goes by way of the nearest cache, at most */

typedef struct {
  mt_op op; /* first: a node's op pointer is a pointer to the whole */
  bool log;
} softmax_op;

typedef struct {
  bool log;
  mt_axis_view view;
  int64_t blocks;           /* of columns, for each of view.outer */
  const float *from, *grad; /* backward: `from` is the output; forward: no grad */
  float *to;
  bool streams; /* whole rows */
} block_work;

static void row_to(const block_work *w, float *to, int64_t at) {
  const int64_t n = w->view.n;
  if (w->grad)
    (w->log ? mt_kernels->log_softmax_backward : mt_kernels->softmax_backward)(to, w->from + at, w->grad + at, n);
  else
    (w->log ? mt_kernels->log_softmax : mt_kernels->softmax)(to, w->from + at, n);
}

static void row_block(const block_work *w, int64_t at) {
  _Alignas(64) float row[STREAMED_ROW];
  if (!w->streams) {
    row_to(w, w->to + at, at);
    return;
  }
  row_to(w, row, at);
  mt_kernels->stream(w->to + at, row, w->view.n * (int64_t)sizeof *row);
}

static void column_block(const block_work *w, int64_t at, int width) {
  const int64_t n = w->view.n, step = w->view.inner;
  if (w->grad)
    (w->log ? mt_kernels->log_softmax_backward_columns : mt_kernels->softmax_backward_columns)(
        w->to + at, w->from + at, w->grad + at, n, step, width);
  else
    (w->log ? mt_kernels->log_softmax_columns : mt_kernels->softmax_columns)(w->to + at, w->from + at, n, step, width);
}

static void run_range(const void *context, int64_t begin, int64_t end) {
  const block_work *w = context;
  const mt_axis_view *v = &w->view;
  for (int64_t i = begin; i < end; i++) {
    const int64_t column = i % w->blocks * MT_SOFTMAX_COLUMNS, left = v->inner - column;
    const int64_t at = i / w->blocks * v->n * v->inner + column;
    if (v->inner == 1)
      row_block(w, at);
    else
      column_block(w, at, left < MT_SOFTMAX_COLUMNS ? (int)left : MT_SOFTMAX_COLUMNS);
  }
  if (w->streams) mt_kernels->stream_done();
}

static void run_blocks(block_work w) {
  w.blocks = (w.view.inner + MT_SOFTMAX_COLUMNS - 1) / MT_SOFTMAX_COLUMNS;
  const int64_t count = w.view.outer * w.blocks, width = w.view.inner / w.blocks;
  const size_t bytes = (size_t)(w.view.outer * w.view.n * w.view.inner) * sizeof *w.to;
  w.streams = w.view.inner == 1 && w.view.n <= STREAMED_ROW && mt_streams(bytes, (w.grad ? 2 : 1) * bytes);
  mt_parallel(count, mt_chunk(count, w.view.n * width, PARALLEL_FROM), run_range, &w);
}

static int over_axis_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const softmax_op *op = (const softmax_op *)node->op;
  const int axis = *(const int *)node->context;
  mt_tensor *dx = grads[0] = mt_tensor_like(grad_output);
  if (!dx) return -1;
  if (dx->count == 0) return 0;
  run_blocks((block_work){.log = op->log,
                          .view = mt_view_axis(dx, axis),
                          .from = mt_f32(node->saved[0]),
                          .grad = mt_f32(grad_output),
                          .to = mt_f32(dx)});
  return 0;
}

static mt_tensor *over_axis(const softmax_op *op, mt_tensor *t, int axis) {
  if (mt_expect_dtype(t, MT_FLOAT32, op->op.name, "the tensor") < 0) return NULL;
  mt_tensor *y = mt_tensor_like(t);
  if (y && y->count > 0)
    run_blocks((block_work){.log = op->log, .view = mt_view_axis(t, axis), .from = mt_f32(t), .to = mt_f32(y)});
  return mt_recorded(y, &op->op, 1, &t, 1, &y, &axis, sizeof axis);
}

static const softmax_op softmax = {{.name = "softmax", .backward = over_axis_backward}, .log = false};
static const softmax_op log_softmax = {{.name = "log_softmax", .backward = over_axis_backward}, .log = true};

mt_tensor *mt_softmax(mt_tensor *t, int axis) { return over_axis(&softmax, t, axis); }
mt_tensor *mt_log_softmax(mt_tensor *t, int axis) { return over_axis(&log_softmax, t, axis); }
