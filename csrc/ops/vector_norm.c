#include "ops/vector_norm.h"

#include <math.h>

#include "autograd/tape.h"
#include "core/memory.h"
#include "core/threads.h"
#include "ops/cast.h"
#include "ops/reduce_internal.h"
#include "ops/walk.h"

#define PARALLEL_FROM 8192

/* ---- forward ---- */

/* The norm of x[0], x[step], ...; NaN anywhere gives NaN. */
static double largest_of(const float *x, int64_t n, int64_t step, double sign) {
  double best = -INFINITY;
  for (int64_t i = 0; i < n; i++) {
    const double value = sign * fabs((double)x[i * step]);
    if (!(value <= best)) best = value;
    if (isnan(best)) break;
  }
  return sign * best;
}

static double group_norm(const float *x, int64_t n, int64_t step, double p) {
  double sum = 0.0;
  if (isinf(p)) return largest_of(x, n, step, p > 0.0 ? 1.0 : -1.0);
  for (int64_t i = 0; i < n; i++) {
    const double value = fabs((double)x[i * step]);
    sum += p == 0.0 ? value != 0.0 : p == 1.0 ? value : pow(value, p);
  }
  return p == 0.0 || p == 1.0 ? sum : pow(sum, 1.0 / p);
}

/* By far the most frequent one: the sum in pieces that threads share. */
static int euclidean_norms(const mt_reduction_view *view, mt_tensor *result) {
  double *centre = mt_alloc((size_t)result->count * sizeof *centre);
  if (!centre) return -1;
  for (int64_t i = 0; i < result->count; i++) centre[i] = 0.0;
  double *squares = mt_reduction_sums(view, centre);
  mt_free(centre);
  if (!squares) return -1;
  for (int64_t i = 0; i < result->count; i++) mt_f32(result)[i] = (float)sqrt(squares[i]);
  mt_free(squares);
  return 0;
}

typedef struct {
  const mt_reduction_view *view;
  double p;
  float *result;
} norm_work;

static void norm_range(const void *context, int64_t begin, int64_t end) {
  const norm_work *w = context;
  for (int64_t i = begin; i < end; i++)
    w->result[i] = (float)group_norm(mt_group_start(w->view, i), w->view->n, w->view->inner, w->p);
}

static int norms(const mt_reduction_view *view, double p, mt_tensor *result) {
  if (p == 2.0) return euclidean_norms(view, result);
  mt_parallel(result->count, mt_chunk(result->count, view->n, PARALLEL_FROM), norm_range,
              &(norm_work){view, p, mt_f32(result)});
  return 0;
}

/* ---- backward ---- */

typedef struct {
  mt_reduction reduction;
  double p;
} norm_context;

typedef struct {
  float *out;
  const float *x, *norm, *g;
  float p;
} norm_rows;

static float sign_of(float x) { return (float)((x > 0.0f) - (x < 0.0f)); }

/* d norm / d x = sign(x) (|x| / norm)^(p - 1) */
static void slope_row(const void *context, int64_t n, const int64_t *offset, const int64_t *stride) {
  const norm_rows *rows = context;
  if (rows->p == 2.0f && stride[2] == 0 && rows->norm[offset[2]] != 0.0f && stride[3] == 0) { /* without a choice */
    const float norm = rows->norm[offset[2]], g = rows->g[offset[3]];
    for (int64_t i = 0; i < n; i++) rows->out[offset[0] + i] = g * (rows->x[offset[1] + i] / norm);
    return;
  }
  for (int64_t i = 0; i < n; i++) {
    const float x = rows->x[offset[1] + i], norm = rows->norm[offset[2] + i * stride[2]];
    const float g = rows->g[offset[3] + i * stride[3]];
    float slope = 0.0f;
    if (rows->p == 2.0f && norm != 0.0f)
      slope = x / norm;
    else if (x != 0.0f && norm != 0.0f)
      slope = isnan(x) ? x : sign_of(x) * powf(fabsf(x) / norm, rows->p - 1.0f);
    rows->out[offset[0] + i] = g * slope;
  }
}

/* sign(x) where |x| is the extreme, for the gradient; 1 there, to count them, where g is missing. */
static void extreme_row(const void *context, int64_t n, const int64_t *offset, const int64_t *stride) {
  const norm_rows *rows = context;
  for (int64_t i = 0; i < n; i++) {
    const float x = rows->x[offset[1] + i];
    const bool extreme = fabsf(x) == rows->norm[offset[2] + i * stride[2]];
    rows->out[offset[0] + i] = !extreme ? 0.0f : rows->g ? sign_of(x) * rows->g[offset[3] + i * stride[3]] : 1.0f;
  }
}

static mt_tensor *over_elements(mt_row row, const mt_tensor *x, const mt_tensor *norm, const mt_tensor *g, double p) {
  mt_tensor *out = mt_tensor_like(x);
  if (!out) return NULL;
  mt_walk walk = mt_walk_over(x->ndim, x->shape);
  mt_walk_add(&walk, out);
  mt_walk_add(&walk, x);
  mt_walk_add(&walk, norm);
  mt_walk_add(&walk, g ? g : norm);
  const norm_rows rows = {mt_f32(out), mt_f32(x), mt_f32(norm), g ? mt_f32(g) : NULL, (float)p};
  mt_walk_run(&walk, row, &rows);
  return out;
}

/* g divided by the number of extremes that share it; -1 on error. */
static int share_among_extremes(const mt_tensor *x, const mt_tensor *norm, mt_tensor *g) {
  mt_tensor *marks = over_elements(extreme_row, x, norm, NULL, INFINITY);
  mt_tensor *counts = marks ? mt_sum_to_shape(marks, norm->ndim, norm->shape) : NULL;
  for (int64_t i = 0; counts && i < g->count; i++) mt_f32(g)[i] /= mt_f32(counts)[i];
  const int status = counts ? 0 : -1;
  mt_release(marks);
  mt_release(counts);
  return status;
}

static int norm_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const norm_context *c = node->context;
  const mt_tensor *x = node->saved[0];
  mt_tensor *g = mt_keepdim_scaled(grad_output, &c->reduction);
  mt_tensor *norm = g ? mt_tensor_alias(node->saved[1], 0, g->ndim, g->shape) : NULL;
  int status = norm ? 0 : -1;
  if (status == 0 && isinf(c->p)) status = share_among_extremes(x, norm, g);
  if (status == 0) grads[0] = over_elements(isinf(c->p) ? extreme_row : slope_row, x, norm, g, c->p);
  mt_release(g);
  mt_release(norm);
  return grads[0] ? 0 : -1;
}

static const mt_op norm_op = {.name = "norm", .backward = norm_backward};

mt_tensor *mt_vector_norm(mt_tensor *t, double p, unsigned axes, bool keepdim) {
  int64_t shape[MT_MAX_DIMS];
  char text[MT_SHAPE_TEXT];
  mt_reduction_view view;
  mt_tensor *x = mt_cast(t, MT_FLOAT32), *result = NULL;
  if (!x || mt_view_reduction(x, axes, &view) < 0) {
    mt_release(x);
    return NULL;
  }
  if (view.n == 0 && (isinf(p) || p < 0.0))
    mt_fail(MT_ERROR_ARGUMENT, "norm: the tensor has shape %s, expected elements to choose from",
            mt_shape_text(t->ndim, t->shape, text));
  else
    result = mt_tensor_new(MT_FLOAT32, mt_reduced_shape(t, axes, keepdim, shape), shape);
  if (result && norms(&view, p, result) < 0) {
    mt_release(result);
    result = NULL;
  }
  mt_release(view.values);
  const norm_context c = {mt_reduction_of(t, axes, 1.0), p};
  mt_tensor *saved[] = {x, result};
  if (p != 0.0) result = mt_recorded(result, &norm_op, 1, &t, 2, saved, &c, sizeof c);
  mt_release(x);
  return result;
}
