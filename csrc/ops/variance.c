/* Both are sums of squared distances from the mean, gathered in double precision, and so are their gradients
 * (x - mean) times a coefficient of the group. */
#include "ops/variance.h"

#include <math.h>

#include "autograd/tape.h"
#include "core/memory.h"
#include "ops/reduce_internal.h"
#include "ops/walk.h"

/* ---- backward ---- */

typedef struct {
  float *grad;
  const float *x, *mean, *coefficient;
} spread_rows;

static void spread_row(const void *context, int64_t n, const int64_t *offset, const int64_t *stride) {
  const spread_rows *rows = context;
  for (int64_t i = 0; i < n; i++)
    rows->grad[offset[0] + i] =
        rows->coefficient[offset[3] + i * stride[3]] * (rows->x[offset[1] + i] - rows->mean[offset[2] + i * stride[2]]);
}

/* coefficient (x - mean), of x's shape. */
static mt_tensor *spread(const mt_tensor *x, const mt_tensor *mean, const mt_tensor *coefficient) {
  mt_tensor *grad = mt_tensor_like(x);
  if (!grad) return NULL;
  mt_walk walk = mt_walk_over(x->ndim, x->shape);
  mt_walk_add(&walk, grad);
  mt_walk_add(&walk, x);
  mt_walk_add(&walk, mean);
  mt_walk_add(&walk, coefficient);
  const spread_rows rows = {mt_f32(grad), mt_f32(x), mt_f32(mean), mt_f32(coefficient)};
  mt_walk_run(&walk, spread_row, &rows);
  return grad;
}

/* d var / d x = 2 (x - mean) / divisor: the reduction's factor is 2 / divisor. */
static int var_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  mt_tensor *coefficient = mt_keepdim_scaled(grad_output, node->context);
  if (coefficient) grads[0] = spread(node->saved[0], node->saved[1], coefficient);
  mt_release(coefficient);
  return grads[0] ? 0 : -1;
}

/* d std / d x = (x - mean) / (std * divisor); 0 where std is 0, as its subgradient there. */
static int std_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const mt_tensor *std = node->saved[2];
  mt_tensor *coefficient = mt_keepdim_scaled(grad_output, node->context);
  for (int64_t i = 0; coefficient && i < coefficient->count; i++)
    mt_f32(coefficient)[i] = mt_f32(std)[i] == 0.0f ? 0.0f : mt_f32(coefficient)[i] / mt_f32(std)[i];
  if (coefficient) grads[0] = spread(node->saved[0], node->saved[1], coefficient);
  mt_release(coefficient);
  return grads[0] ? 0 : -1;
}

static const mt_op var_op = {.name = "var", .backward = var_backward};
static const mt_op std_op = {.name = "std", .backward = std_backward};

/* ---- forward ---- */

/* Fills mean and result (both of `count` values); -1 when memory runs out. */
static int mean_and_spread(const mt_reduction_view *view, double divisor, bool root, mt_tensor *mean,
                           mt_tensor *result) {
  double *centre = mt_reduction_sums(view, NULL);
  if (!centre) return -1;
  for (int64_t i = 0; i < result->count; i++) {
    centre[i] /= (double)view->n;
    mt_f32(mean)[i] = (float)centre[i];
  }
  double *squares = mt_reduction_sums(view, centre);
  mt_free(centre);
  if (!squares) return -1;
  for (int64_t i = 0; i < result->count; i++) {
    const double variance = divisor > 0.0 ? squares[i] / divisor : NAN;
    mt_f32(result)[i] = (float)(root ? sqrt(variance) : variance);
  }
  mt_free(squares);
  return 0;
}

static mt_tensor *variation(mt_tensor *t, unsigned axes, bool keepdim, bool unbiased, bool root) {
  int64_t shape[MT_MAX_DIMS], kept[MT_MAX_DIMS];
  mt_reduction_view view;
  if (mt_view_reduction(t, axes, &view) < 0) return NULL;
  const double divisor = (double)view.n - (unbiased ? 1.0 : 0.0);
  mt_tensor *mean = mt_tensor_new(MT_FLOAT32, mt_reduced_shape(t, axes, true, kept), kept);
  mt_tensor *result = mt_tensor_new(MT_FLOAT32, mt_reduced_shape(t, axes, keepdim, shape), shape);
  if (!mean || !result || mean_and_spread(&view, divisor, root, mean, result) < 0) {
    mt_release(result);
    result = NULL;
  }
  mt_release(view.values);
  const mt_reduction r = mt_reduction_of(t, axes, (root ? 1.0 : 2.0) / divisor);
  mt_tensor *saved[] = {t, mean, root ? result : NULL};
  result = mt_recorded(result, root ? &std_op : &var_op, 1, &t, 3, saved, &r, sizeof r);
  mt_release(mean);
  return result;
}

mt_tensor *mt_var(mt_tensor *t, unsigned axes, bool keepdim, bool unbiased) {
  return variation(t, axes, keepdim, unbiased, false);
}

mt_tensor *mt_std(mt_tensor *t, unsigned axes, bool keepdim, bool unbiased) {
  return variation(t, axes, keepdim, unbiased, true);
}
