#include "ops/logsumexp.h"

#include <math.h>

#include "autograd/tape.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "ops/cast.h"
#include "ops/reduce_internal.h"
#include "ops/walk.h"

#define PARALLEL_FROM 2048

/* The largest element is subtracted first, unless it is infinite: then it is the result, or NaN is in the group. */
static float row_logsumexp(const float *x, int64_t n) {
  const float largest = mt_kernels->largest(x, n), shift = isinf(largest) ? 0.0f : largest;
  return shift + (float)log(mt_kernels->exp_sum(x, n, shift));
}

static float group_logsumexp(const float *x, int64_t n, int64_t step) {
  float largest = -INFINITY;
  double sum = 0.0;
  for (int64_t i = 0; i < n; i++)
    if (x[i * step] > largest) largest = x[i * step];
  const float shift = isinf(largest) ? 0.0f : largest;
  for (int64_t i = 0; i < n; i++) sum += (double)expf(x[i * step] - shift);
  return shift + (float)log(sum);
}

static void forward_range(const void *context, int64_t begin, int64_t end) {
  const mt_group_work *w = context;
  for (int64_t i = begin; i < end; i++)
    w->result[i] = w->view->inner == 1 ? row_logsumexp(mt_group_start(w->view, i), w->view->n)
                                       : group_logsumexp(mt_group_start(w->view, i), w->view->n, w->view->inner);
}

typedef struct {
  float *dx;
  const float *x, *y, *g;
} logsumexp_rows;

/* dx = g exp(x - y) */
static void backward_row(const void *context, int64_t n, const int64_t *offset, const int64_t *stride) {
  const logsumexp_rows *rows = context;
  if (stride[2] == 0 && stride[3] == 0) {
    mt_kernels->exp_row(rows->dx + offset[0], rows->x + offset[1], n, rows->y[offset[2]], 0.0f, rows->g[offset[3]]);
    return;
  }
  for (int64_t i = 0; i < n; i++)
    rows->dx[offset[0] + i] =
        rows->g[offset[3] + i * stride[3]] * expf(rows->x[offset[1] + i] - rows->y[offset[2] + i * stride[2]]);
}

static int logsumexp_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const mt_tensor *x = node->saved[0];
  mt_tensor *g = mt_keepdim_scaled(grad_output, node->context);
  mt_tensor *y = g ? mt_tensor_alias(node->saved[1], 0, g->ndim, g->shape) : NULL;
  grads[0] = y ? mt_tensor_like(x) : NULL;
  if (grads[0]) {
    mt_walk walk = mt_walk_over(x->ndim, x->shape);
    mt_walk_add(&walk, grads[0]);
    mt_walk_add(&walk, x);
    mt_walk_add(&walk, y);
    mt_walk_add(&walk, g);
    const logsumexp_rows rows = {mt_f32(grads[0]), mt_f32(x), mt_f32(y), mt_f32(g)};
    mt_walk_run(&walk, backward_row, &rows);
  }
  mt_release(g);
  mt_release(y);
  return grads[0] ? 0 : -1;
}

static const mt_op logsumexp_op = {.name = "logsumexp", .backward = logsumexp_backward};

mt_tensor *mt_logsumexp(mt_tensor *t, unsigned axes, bool keepdim) {
  int64_t shape[MT_MAX_DIMS];
  mt_reduction_view v;
  mt_tensor *x = mt_cast(t, MT_FLOAT32);
  if (!x || mt_view_reduction(x, axes, &v) < 0) {
    mt_release(x);
    return NULL;
  }
  mt_tensor *result = mt_tensor_new(MT_FLOAT32, mt_reduced_shape(t, axes, keepdim, shape), shape);
  if (result)
    mt_parallel(result->count, mt_chunk(result->count, v.n, PARALLEL_FROM), forward_range,
                &(mt_group_work){&v, mt_f32(result)});
  mt_release(v.values);
  const mt_reduction r = mt_reduction_of(t, axes, 1.0);
  mt_tensor *saved[] = {x, result};
  result = mt_recorded(result, &logsumexp_op, 1, &t, 2, saved, &r, sizeof r);
  mt_release(x);
  return result;
}
