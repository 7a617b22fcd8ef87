/* Arithmetic of two tensors. Operands are brought to the result's element type, then walked together; the gradient
 * of an operand is computed at the result's shape and summed over the axes along which it was repeated. */
#include "ops/binary.h"

#include <math.h>
#include <string.h>

#include "autograd/tape.h"
#include "core/stream.h"
#include "kernels/kernels.h"
#include "ops/cast.h"
#include "ops/reduce.h"
#include "ops/strides.h"
#include "ops/walk.h"

typedef void (*float_row)(float *out, const float *a, int64_t stride_a, const float *b, int64_t stride_b, int64_t n);
typedef void (*int_row)(int32_t *out, const int32_t *a, int64_t stride_a, const int32_t *b, int64_t stride_b,
                        int64_t n);
/* The gradient of operand `which` (0: a, 1: b) where the result's is g. */
typedef void (*gradient_row)(int which, float *out, const float *g, const float *a, int64_t stride_a, const float *b,
                             int64_t stride_b, int64_t n);

enum { USES_A = 1, USES_B = 2 };

typedef struct {
  mt_op op;              /* first: a node's op pointer is a pointer to the whole */
  gradient_row gradient; /* NULL: the gradient passes on as it is */
  int uses[2];           /* the operands whose values the gradients of a and b need */
  bool integers;         /* int32 results for integer operands; otherwise always float32 */
} binary_op;

/* What backward needs besides values. */
typedef struct {
  int ndim[2];
  int64_t shape[2][MT_MAX_DIMS];
} operand_shapes;

mt_dtype mt_common_dtype(mt_dtype a, mt_dtype b) {
  if (a == b) return a;
  return a == MT_FLOAT32 || b == MT_FLOAT32 ? MT_FLOAT32 : MT_INT32;
}

/* ---- forward ---- */

typedef struct {
  float_row floats;
  int_row ints;
  mt_tensor *out, *a, *b;
  bool streams;
} forward_rows;

static void forward_float_row(const void *context, int64_t n, const int64_t *offset, const int64_t *stride) {
  const forward_rows *p = context;
  const float *a = mt_f32(p->a) + offset[1], *b = mt_f32(p->b) + offset[2];
  MT_WRITE(float, p->streams, mt_f32(p->out) + offset[0], n,
           p->floats(out, a + at * stride[1], stride[1], b + at * stride[2], stride[2], count));
}

static void forward_int_row(const void *context, int64_t n, const int64_t *offset, const int64_t *stride) {
  const forward_rows *p = context;
  p->ints(mt_i32(p->out) + offset[0], mt_i32(p->a) + offset[1], stride[1], mt_i32(p->b) + offset[2], stride[2], n);
}

/* The values of the result in p->out; p->a and p->b are the operands in its element type. -1 on error. */
static int compute(forward_rows *p, const binary_op *op, mt_tensor *a, mt_tensor *b) {
  int64_t shape[MT_MAX_DIMS];
  memcpy(shape, a->shape, sizeof shape);
  const int ndim = mt_broadcast_shape(op->op.name, a->ndim, shape, b);
  if (ndim < 0) return -1;
  const bool floats = !op->integers || a->dtype == MT_FLOAT32 || b->dtype == MT_FLOAT32;
  const mt_dtype dtype = floats ? MT_FLOAT32 : MT_INT32;
  p->a = mt_cast(a, dtype);
  p->b = mt_cast(b, dtype);
  if (p->a && p->b) p->out = mt_tensor_new(dtype, ndim, shape);
  if (!p->out) return -1;
  p->streams = mt_streams(mt_tensor_bytes(p->out), mt_tensor_bytes(p->a) + mt_tensor_bytes(p->b));
  mt_walk walk = mt_walk_over(ndim, shape);
  mt_walk_add(&walk, p->out);
  mt_walk_add(&walk, p->a);
  mt_walk_add(&walk, p->b);
  mt_walk_run(&walk, floats ? forward_float_row : forward_int_row, p);
  return 0;
}

static mt_tensor *binary(const binary_op *op, float_row floats, int_row ints, mt_tensor *a, mt_tensor *b) {
  forward_rows p = {.floats = floats, .ints = ints};
  if (compute(&p, op, a, b) == 0) {
    const int used = (mt_needs_grad(a) ? op->uses[0] : 0) | (mt_needs_grad(b) ? op->uses[1] : 0);
    mt_tensor *inputs[] = {a, b};
    mt_tensor *saved[] = {used & USES_A ? p.a : NULL, used & USES_B ? p.b : NULL};
    operand_shapes shapes = {.ndim = {a->ndim, b->ndim}};
    memcpy(shapes.shape[0], a->shape, sizeof a->shape);
    memcpy(shapes.shape[1], b->shape, sizeof b->shape);
    p.out = mt_recorded(p.out, &op->op, 2, inputs, 2, saved, &shapes, sizeof shapes);
  }
  mt_release(p.a);
  mt_release(p.b);
  return p.out;
}

/* ---- backward ---- */

typedef struct {
  gradient_row gradient;
  int which;
  mt_tensor *out, *g, *a, *b;
  bool streams;
} backward_rows;

static void backward_row(const void *context, int64_t n, const int64_t *offset, const int64_t *stride) {
  const backward_rows *p = context;
  const float *g = mt_f32(p->g) + offset[0], *a = mt_f32(p->a) + offset[1], *b = mt_f32(p->b) + offset[2];
  MT_WRITE(float, p->streams, mt_f32(p->out) + offset[0], n,
           p->gradient(p->which, out, g + at, a + at * stride[1], stride[1], b + at * stride[2], stride[2], count));
}

/* The gradient of one operand at the result's shape. */
static mt_tensor *gradient_before_sum(const binary_op *op, int which, mt_tensor *g, mt_tensor *a, mt_tensor *b) {
  if (!op->gradient) return mt_retain(g);
  mt_tensor *out = mt_tensor_like(g);
  if (!out) return NULL;
  /* A value that was not saved is not looked at either: g stands in for it. */
  const size_t operands = mt_tensor_bytes(g) + (a ? mt_tensor_bytes(a) : 0) + (b ? mt_tensor_bytes(b) : 0);
  const backward_rows p = {
      op->gradient, which, out, g, a ? a : g, b ? b : g, mt_streams(mt_tensor_bytes(out), operands)};
  mt_walk walk = mt_walk_over(g->ndim, g->shape);
  mt_walk_add(&walk, out);
  mt_walk_add(&walk, p.a);
  mt_walk_add(&walk, p.b);
  mt_walk_run(&walk, backward_row, &p);
  return out;
}

static int binary_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const binary_op *op = (const binary_op *)node->op;
  const operand_shapes *shapes = node->context;
  for (int which = 0; which < 2; which++) {
    if (!node->needs[which]) continue;
    mt_tensor *full = gradient_before_sum(op, which, grad_output, node->saved[0], node->saved[1]);
    if (full) grads[which] = mt_sum_to_shape(full, shapes->ndim[which], shapes->shape[which]);
    mt_release(full);
    if (!grads[which]) return -1;
  }
  return 0;
}

/* ---- the operations ---- */

#define INT_ROW(name, value)                                                                                          \
  static void name(int32_t *out, const int32_t *a, int64_t stride_a, const int32_t *b, int64_t stride_b, int64_t n) { \
    for (int64_t i = 0; i < n; i++) {                                                                                 \
      const int32_t x = a[i * stride_a], y = b[i * stride_b];                                                         \
      out[i] = value;                                                                                                 \
    }                                                                                                                 \
  }
#define WRAPPED(operator) (int32_t)((uint32_t)x operator(uint32_t) y)

INT_ROW(add_ints, WRAPPED(+))
INT_ROW(subtract_ints, WRAPPED(-))
INT_ROW(multiply_ints, WRAPPED(*))
INT_ROW(maximum_ints, x > y ? x : y)
INT_ROW(minimum_ints, x < y ? x : y)

static void multiply_gradient(int which, float *out, const float *g, const float *a, int64_t stride_a, const float *b,
                              int64_t stride_b, int64_t n) {
  if (which == 0)
    mt_kernels->multiply(out, g, 1, b, stride_b, n);
  else
    mt_kernels->multiply(out, g, 1, a, stride_a, n);
}

static void divide_gradient(int which, float *out, const float *g, const float *a, int64_t stride_a, const float *b,
                            int64_t stride_b, int64_t n) {
  if (which == 0) {
    mt_kernels->divide(out, g, 1, b, stride_b, n);
    return;
  }
  MT_FOR_STRIDES(n, stride_a, stride_b, out[i] = -g[i] * (a[i * A] / b[i * B] / b[i * B]));
}

static void subtract_gradient(int which, float *out, const float *g, const float *a, int64_t stride_a, const float *b,
                              int64_t stride_b, int64_t n) {
  const float sign = which == 0 ? 1.0f : -1.0f;
  (void)a, (void)stride_a, (void)b, (void)stride_b;
  mt_kernels->multiply(out, g, 1, &sign, 0, n);
}

/* What of the gradient g gets to `own`, NaN on either side included. */
static inline float of_larger(float g, float own, float other) {
  return own == other ? 0.5f * g : own < other ? 0.0f : g;
}
static inline float of_smaller(float g, float own, float other) {
  return own == other ? 0.5f * g : own > other ? 0.0f : g;
}

/* Everything to the larger one; half each where they are equal. */
static void maximum_gradient(int which, float *out, const float *g, const float *a, int64_t stride_a, const float *b,
                             int64_t stride_b, int64_t n) {
  const float *own = which == 0 ? a : b, *other = which == 0 ? b : a;
  const int64_t of_own = which == 0 ? stride_a : stride_b, of_other = which == 0 ? stride_b : stride_a;
  MT_FOR_STRIDES(n, of_own, of_other, out[i] = of_larger(g[i], own[i * A], other[i * B]));
}

static void minimum_gradient(int which, float *out, const float *g, const float *a, int64_t stride_a, const float *b,
                             int64_t stride_b, int64_t n) {
  const float *own = which == 0 ? a : b, *other = which == 0 ? b : a;
  const int64_t of_own = which == 0 ? stride_a : stride_b, of_other = which == 0 ? stride_b : stride_a;
  MT_FOR_STRIDES(n, of_own, of_other, out[i] = of_smaller(g[i], own[i * A], other[i * B]));
}

static void power_gradient(int which, float *out, const float *g, const float *a, int64_t stride_a, const float *b,
                           int64_t stride_b, int64_t n) {
  if (which == 0)
    mt_kernels->power_base_gradient(out, g, a, stride_a, b, stride_b, n);
  else
    mt_kernels->power_exponent_gradient(out, g, a, stride_a, b, stride_b, n);
}

enum { USES_BOTH = USES_A | USES_B };

static const binary_op add_op = {{.name = "add", .backward = binary_backward}, NULL, {0, 0}, true};
static const binary_op sub_op = {{.name = "sub", .backward = binary_backward}, subtract_gradient, {0, 0}, true};
static const binary_op mul_op = {
    {.name = "mul", .backward = binary_backward}, multiply_gradient, {USES_B, USES_A}, true};
static const binary_op div_op = {
    {.name = "div", .backward = binary_backward}, divide_gradient, {USES_B, USES_BOTH}, false};
static const binary_op maximum_op = {
    {.name = "maximum", .backward = binary_backward}, maximum_gradient, {USES_BOTH, USES_BOTH}, true};
static const binary_op minimum_op = {
    {.name = "minimum", .backward = binary_backward}, minimum_gradient, {USES_BOTH, USES_BOTH}, true};

static const binary_op power_op = {
    {.name = "pow", .backward = binary_backward}, power_gradient, {USES_BOTH, USES_BOTH}, false};

mt_tensor *mt_add(mt_tensor *a, mt_tensor *b) { return binary(&add_op, mt_kernels->add, add_ints, a, b); }
mt_tensor *mt_sub(mt_tensor *a, mt_tensor *b) { return binary(&sub_op, mt_kernels->subtract, subtract_ints, a, b); }
mt_tensor *mt_mul(mt_tensor *a, mt_tensor *b) { return binary(&mul_op, mt_kernels->multiply, multiply_ints, a, b); }
mt_tensor *mt_div(mt_tensor *a, mt_tensor *b) { return binary(&div_op, mt_kernels->divide, NULL, a, b); }

mt_tensor *mt_power(mt_tensor *a, mt_tensor *b) { return binary(&power_op, mt_kernels->power, NULL, a, b); }

/* The result of an int32 maximum of two uint8 tensors fits in uint8 again. */
static mt_tensor *narrowed(mt_tensor *result, const mt_tensor *a, const mt_tensor *b) {
  if (!result || a->dtype != MT_UINT8 || b->dtype != MT_UINT8) return result;
  mt_tensor *narrow = mt_cast(result, MT_UINT8);
  mt_release(result);
  return narrow;
}

mt_tensor *mt_maximum(mt_tensor *a, mt_tensor *b) {
  return narrowed(binary(&maximum_op, mt_kernels->maximum, maximum_ints, a, b), a, b);
}

mt_tensor *mt_minimum(mt_tensor *a, mt_tensor *b) {
  return narrowed(binary(&minimum_op, mt_kernels->minimum, minimum_ints, a, b), a, b);
}
