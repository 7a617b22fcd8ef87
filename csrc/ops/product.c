/* Everything is (outer, n, inner), n being multiplied, in double precision. */
#include "ops/product.h"

#include "autograd/tape.h"
#include "core/memory.h"
#include "ops/cast.h"
#include "ops/reduce.h"
#include "ops/shape.h"

static mt_axis_view view_of(const mt_tensor *t, int axis) {
  return axis >= 0 ? mt_view_axis(t, axis) : (mt_axis_view){.outer = 1, .n = t->count, .inner = 1};
}

/* The place of a group's first element. */
static int64_t first_of(const mt_axis_view *v, int64_t group) {
  return group / v->inner * v->n * v->inner + group % v->inner;
}

static double product_of(const float *x, int64_t n, int64_t step) {
  double product = 1.0;
  for (int64_t i = 0; i < n; i++) product *= (double)x[i * step];
  return product;
}

/* dx[i] = dy times the product of the others: of those before it, kept in `before`, and of those after it. Dividing the
 * whole product by x[i] would not do where that is 0. */
static void group_backward(float *dx, const float *x, int64_t n, int64_t step, double dy, double *before) {
  double product = 1.0;
  for (int64_t i = 0; i < n; i++) {
    before[i] = product;
    product *= (double)x[i * step];
  }
  product = dy;
  for (int64_t i = n - 1; i >= 0; i--) {
    dx[i * step] = (float)(before[i] * product);
    product *= (double)x[i * step];
  }
}

static int prod_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const mt_tensor *x = node->saved[0];
  const mt_axis_view v = view_of(x, *(const int *)node->context);
  double *before = mt_alloc((size_t)v.n * sizeof *before);
  grads[0] = before ? mt_tensor_like(x) : NULL;
  for (int64_t i = 0; grads[0] && i < grad_output->count; i++)
    group_backward(mt_f32(grads[0]) + first_of(&v, i), mt_f32(x) + first_of(&v, i), v.n, v.inner,
                   (double)mt_f32(grad_output)[i], before);
  mt_free(before);
  return grads[0] ? 0 : -1;
}

static const mt_op prod_op = {.name = "prod", .backward = prod_backward};

/* ---- integers ---- */

static int integer_product(const int32_t *x, int64_t n, int64_t step, int32_t *result) {
  int64_t product = 1;
  bool fits = true, zero = false;
  for (int64_t i = 0; i < n; i++) {
    zero = zero || x[i * step] == 0;
    product *= x[i * step]; /* at most 2^31 times 2^31 */
    if (product > INT32_MAX || product < INT32_MIN) {
      fits = false;
      product = 1;
    }
  }
  *result = zero ? 0 : (int32_t)product;
  if (fits || zero) return 0;
  return mt_fail(MT_ERROR_ARGUMENT, "prod: the result does not fit in int32; convert to float32 first");
}

static mt_tensor *integer_products(mt_tensor *t, int axis, mt_tensor *result) {
  mt_tensor *x = result ? mt_cast(t, MT_INT32) : NULL;
  const mt_axis_view v = view_of(t, axis);
  int status = x ? 0 : -1;
  for (int64_t i = 0; status == 0 && i < result->count; i++)
    status = integer_product(mt_i32(x) + first_of(&v, i), v.n, v.inner, mt_i32(result) + i);
  mt_release(x);
  if (status == 0) return result;
  mt_release(result);
  return NULL;
}

mt_tensor *mt_prod(mt_tensor *t, int axis, bool keepdim) {
  int64_t shape[MT_MAX_DIMS];
  const int ndim = mt_reduced_shape(t, axis >= 0 ? 1u << axis : mt_all_axes(t), keepdim, shape);
  const bool floats = t->dtype == MT_FLOAT32;
  mt_tensor *result = mt_tensor_new(floats ? MT_FLOAT32 : MT_INT32, ndim, shape);
  if (!floats) return integer_products(t, axis, result);
  const mt_axis_view v = view_of(t, axis);
  for (int64_t i = 0; result && i < result->count; i++)
    mt_f32(result)[i] = (float)product_of(mt_f32(t) + first_of(&v, i), v.n, v.inner);
  return mt_recorded(result, &prod_op, 1, &t, 1, &t, &axis, sizeof axis);
}
