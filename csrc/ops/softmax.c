/* softmax and log_softmax over (outer, n, inner): each of the outer * inner groups is n elements, inner apart. Both
 * gradients need only the output. */
#include "ops/softmax.h"

#include <math.h>

#include "autograd/tape.h"
#include "core/threads.h"
#include "ops/shape.h"

#define PARALLEL_FROM 2048

/* One group: elements at 0, step, ..., (n-1) * step. */
typedef void (*forward_group)(float *y, const float *x, int64_t n, int64_t step);
typedef void (*backward_group)(float *dx, const float *y, const float *dy, int64_t n, int64_t step);

static float largest_of(const float *x, int64_t n, int64_t step) {
  float largest = x[0];
  for (int64_t i = 1; i < n; i++)
    if (x[i * step] > largest) largest = x[i * step];
  return largest;
}

static void softmax_group(float *y, const float *x, int64_t n, int64_t step) {
  const float largest = largest_of(x, n, step);
  double sum = 0.0;
  for (int64_t i = 0; i < n; i++) sum += y[i * step] = expf(x[i * step] - largest);
  const float scale = (float)(1.0 / sum);
  for (int64_t i = 0; i < n; i++) y[i * step] *= scale;
}

static void log_softmax_group(float *y, const float *x, int64_t n, int64_t step) {
  const float largest = largest_of(x, n, step);
  double sum = 0.0;
  for (int64_t i = 0; i < n; i++) sum += expf(x[i * step] - largest);
  const float log_sum = (float)log(sum);
  for (int64_t i = 0; i < n; i++) y[i * step] = x[i * step] - largest - log_sum;
}

/* dx = y (dy - sum(y dy)) */
static void softmax_backward_group(float *dx, const float *y, const float *dy, int64_t n, int64_t step) {
  double dot = 0.0;
  for (int64_t i = 0; i < n; i++) dot += (double)y[i * step] * (double)dy[i * step];
  for (int64_t i = 0; i < n; i++) dx[i * step] = y[i * step] * (dy[i * step] - (float)dot);
}

/* dx = dy - exp(y) sum(dy) */
static void log_softmax_backward_group(float *dx, const float *y, const float *dy, int64_t n, int64_t step) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; i++) sum += (double)dy[i * step];
  for (int64_t i = 0; i < n; i++) dx[i * step] = dy[i * step] - expf(y[i * step]) * (float)sum;
}

typedef struct {
  mt_op op; /* first: a node's op pointer is a pointer to the whole */
  forward_group forward;
  backward_group backward;
} softmax_op;

typedef struct {
  const softmax_op *op;
  mt_axis_view view;
  const float *from, *grad; /* backward: `from` is the output */
  float *to;
} group_work;

static int64_t group_start(const mt_axis_view *v, int64_t group) {
  return group / v->inner * v->n * v->inner + group % v->inner;
}

static void forward_groups(const void *context, int64_t begin, int64_t end) {
  const group_work *w = context;
  for (int64_t group = begin; group < end; group++) {
    const int64_t at = group_start(&w->view, group);
    w->op->forward(w->to + at, w->from + at, w->view.n, w->view.inner);
  }
}

static void backward_groups(const void *context, int64_t begin, int64_t end) {
  const group_work *w = context;
  for (int64_t group = begin; group < end; group++) {
    const int64_t at = group_start(&w->view, group);
    w->op->backward(w->to + at, w->from + at, w->grad + at, w->view.n, w->view.inner);
  }
}

static void run_groups(const group_work *w, mt_loop_body *body) {
  const int64_t groups = w->view.outer * w->view.inner;
  mt_parallel(groups, mt_chunk(groups, w->view.n, PARALLEL_FROM), body, w);
}

static int over_axis_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const softmax_op *op = (const softmax_op *)node->op;
  const int axis = *(const int *)node->context;
  mt_tensor *dx = grads[0] = mt_tensor_like(grad_output);
  if (!dx) return -1;
  if (dx->count == 0) return 0;
  const group_work work = {op, mt_view_axis(dx, axis), mt_f32(node->saved[0]), mt_f32(grad_output), mt_f32(dx)};
  run_groups(&work, backward_groups);
  return 0;
}

static mt_tensor *over_axis(const softmax_op *op, mt_tensor *t, int axis) {
  if (mt_expect_dtype(t, MT_FLOAT32, op->op.name, "the tensor") < 0) return NULL;
  mt_tensor *y = mt_tensor_like(t);
  if (y && y->count > 0) {
    const group_work work = {.op = op, .view = mt_view_axis(t, axis), .from = mt_f32(t), .to = mt_f32(y)};
    run_groups(&work, forward_groups);
  }
  return mt_recorded(y, &op->op, 1, &t, 1, &y, &axis, sizeof axis);
}

static const softmax_op softmax = {
    {.name = "softmax", .backward = over_axis_backward}, softmax_group, softmax_backward_group};
static const softmax_op log_softmax = {
    {.name = "log_softmax", .backward = over_axis_backward}, log_softmax_group, log_softmax_backward_group};

mt_tensor *mt_softmax(mt_tensor *t, int axis) { return over_axis(&softmax, t, axis); }
mt_tensor *mt_log_softmax(mt_tensor *t, int axis) { return over_axis(&log_softmax, t, axis); }
