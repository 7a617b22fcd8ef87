/* Functions of one tensor. An operation is how values and gradients are computed over a range, and what the gradient
 * needs (ops/elementwise_op.h); ranges are spread over threads in one place. */
#include "ops/elementwise.h"

#include <math.h>

#include "core/stream.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "ops/cast.h"
#include "ops/elementwise_op.h"

#define CHUNK 32768 /* elements a thread takes at a time */

/* ---- over a whole tensor ---- */

typedef struct {
  const mt_elementwise_op *op;
  const mt_scalars *scalars;
  float *to;
  const float *from, *grad; /* backward: `from` is what was saved */
  bool streams;
} whole;

static void forward_chunk(const void *context, int64_t begin, int64_t end) {
  const whole *w = context;
  const float *x = w->from + begin;
  MT_WRITE(float, w->streams, w->to + begin, end - begin, w->op->forward(w->scalars, out, x + at, count));
}

static void backward_chunk(const void *context, int64_t begin, int64_t end) {
  const whole *w = context;
  const float *saved = w->from + begin, *dy = w->grad + begin;
  MT_WRITE(float, w->streams, w->to + begin, end - begin, w->op->backward(w->scalars, out, saved + at, dy + at, count));
}

int mt_elementwise_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const mt_elementwise_op *op = (const mt_elementwise_op *)node->op;
  mt_tensor *dx = grads[0] = mt_tensor_like(grad_output);
  if (!dx) return -1;
  const float *dy = mt_f32(grad_output);
  const float *saved = node->saved[0] ? mt_f32(node->saved[0]) : dy; /* not looked at where nothing was saved */
  mt_parallel(dx->count, CHUNK, backward_chunk,
              &(whole){op, node->context, mt_f32(dx), saved, dy,
                       mt_streams(mt_tensor_bytes(dx), (node->saved[0] ? 2 : 1) * mt_tensor_bytes(dx))});
  return 0;
}

mt_tensor *mt_elementwise(const mt_elementwise_op *op, mt_tensor *t, double first, double second) {
  const mt_scalars s = {first, second};
  mt_tensor *x = mt_cast(t, MT_FLOAT32);
  mt_tensor *y = x ? mt_tensor_like(x) : NULL;
  if (y)
    mt_parallel(y->count, CHUNK, forward_chunk,
                &(whole){.op = op,
                         .scalars = &s,
                         .to = mt_f32(y),
                         .from = mt_f32(x),
                         .streams = mt_streams(mt_tensor_bytes(y), mt_tensor_bytes(x))});
  mt_tensor *saved = op->saves == MT_SAVES_OUTPUT ? y : op->saves == MT_SAVES_INPUT ? x : NULL;
  y = mt_recorded(y, &op->op, 1, &t, 1, &saved, &s, sizeof s);
  mt_release(x);
  return y;
}

/* ---- the operations: y = f(x), dx = f'(x) dy ---- */

MT_BY_KERNEL(neg)
MT_BY_KERNEL(exp)
MT_BY_KERNEL(expm1)
MT_BY_KERNEL(log)
MT_BY_KERNEL(log1p)
MT_BY_KERNEL(sqrt)
MT_BY_KERNEL(sin)
MT_BY_KERNEL(cos)
MT_BY_KERNEL(erf)
MT_BY_KERNEL(abs)
MT_BY_KERNEL(relu)

static void clamp_forward(const mt_scalars *s, float *y, const float *x, int64_t n) {
  mt_kernels->clamp(y, x, n, (float)s->first, (float)s->second);
}

static void clamp_backward(const mt_scalars *s, float *dx, const float *saved, const float *dy, int64_t n) {
  mt_kernels->clamp_backward(dx, saved, dy, n, (float)s->first, (float)s->second);
}

static void pow_forward(const mt_scalars *s, float *y, const float *x, int64_t n) {
  const float exponent = (float)s->first;
  if (s->first == 2.0)
    mt_kernels->multiply(y, x, 1, x, 1, n);
  else
    mt_kernels->power(y, x, 1, &exponent, 0, n);
}

static void pow_backward(const mt_scalars *s, float *dx, const float *saved, const float *dy, int64_t n) {
  const float exponent = (float)s->first;
  if (s->first == 2.0)
    for (int64_t i = 0; i < n; i++) dx[i] = 2.0f * saved[i] * dy[i];
  else
    mt_kernels->power_base_gradient(dx, dy, saved, 1, &exponent, 0, n);
}

MT_ELEMENTWISE_OP(neg, MT_SAVES_NOTHING);
MT_ELEMENTWISE_OP(exp, MT_SAVES_OUTPUT);
MT_ELEMENTWISE_OP(expm1, MT_SAVES_OUTPUT);
MT_ELEMENTWISE_OP(log, MT_SAVES_INPUT);
MT_ELEMENTWISE_OP(log1p, MT_SAVES_INPUT);
MT_ELEMENTWISE_OP(sqrt, MT_SAVES_OUTPUT);
MT_ELEMENTWISE_OP(sin, MT_SAVES_INPUT);
MT_ELEMENTWISE_OP(cos, MT_SAVES_INPUT);
MT_ELEMENTWISE_OP(erf, MT_SAVES_INPUT);
MT_ELEMENTWISE_OP(abs, MT_SAVES_INPUT);
MT_ELEMENTWISE_OP(relu, MT_SAVES_OUTPUT);
MT_ELEMENTWISE_OP(clamp, MT_SAVES_INPUT);
MT_ELEMENTWISE_OP(pow, MT_SAVES_INPUT);

/* ---- integers ---- */

static int32_t wrapped_neg(int32_t x) { return (int32_t)(0u - (uint32_t)x); }

/* An integer tensor as int32, to be written to: a tensor of its own. */
static mt_tensor *own_int32(mt_tensor *t) { return t->dtype == MT_INT32 ? mt_tensor_copy(t) : mt_cast(t, MT_INT32); }

static mt_tensor *neg_int32(mt_tensor *t) {
  mt_tensor *y = own_int32(t);
  for (int64_t i = 0; y && i < y->count; i++) mt_i32(y)[i] = wrapped_neg(mt_i32(y)[i]);
  return y;
}

static mt_tensor *abs_integers(mt_tensor *t) {
  mt_tensor *y = mt_tensor_copy(t);
  if (y && y->dtype == MT_INT32)
    for (int64_t i = 0; i < y->count; i++)
      if (mt_i32(y)[i] < 0) mt_i32(y)[i] = wrapped_neg(mt_i32(y)[i]);
  return y;
}

/* Ends between two integers round inwards; where that leaves nothing, everything becomes `high`. */
static mt_tensor *clamp_integers(mt_tensor *t, double low, double high) {
  mt_tensor *wide = own_int32(t);
  if (!wide) return NULL;
  const double lo = ceil(low), hi = floor(high);
  for (int64_t i = 0; i < wide->count; i++) {
    const double x = mt_i32(wide)[i], raised = x < lo ? lo : x, value = raised > hi ? hi : raised;
    mt_i32(wide)[i] = value < INT32_MIN ? INT32_MIN : value > INT32_MAX ? INT32_MAX : (int32_t)value;
  }
  mt_tensor *y = mt_cast(wide, t->dtype);
  mt_release(wide);
  return y;
}

/* ---- public ---- */

mt_tensor *mt_exp(mt_tensor *t) { return mt_elementwise(&exp_op, t, 0, 0); }
mt_tensor *mt_log(mt_tensor *t) { return mt_elementwise(&log_op, t, 0, 0); }
mt_tensor *mt_sqrt(mt_tensor *t) { return mt_elementwise(&sqrt_op, t, 0, 0); }
mt_tensor *mt_expm1(mt_tensor *t) { return mt_elementwise(&expm1_op, t, 0, 0); }
mt_tensor *mt_log1p(mt_tensor *t) { return mt_elementwise(&log1p_op, t, 0, 0); }
mt_tensor *mt_sin(mt_tensor *t) { return mt_elementwise(&sin_op, t, 0, 0); }
mt_tensor *mt_cos(mt_tensor *t) { return mt_elementwise(&cos_op, t, 0, 0); }
mt_tensor *mt_erf(mt_tensor *t) { return mt_elementwise(&erf_op, t, 0, 0); }
mt_tensor *mt_pow(mt_tensor *t, double exponent) { return mt_elementwise(&pow_op, t, exponent, 0); }

mt_tensor *mt_neg(mt_tensor *t) { return t->dtype == MT_FLOAT32 ? mt_elementwise(&neg_op, t, 0, 0) : neg_int32(t); }

mt_tensor *mt_abs(mt_tensor *t) { return t->dtype == MT_FLOAT32 ? mt_elementwise(&abs_op, t, 0, 0) : abs_integers(t); }

mt_tensor *mt_clamp(mt_tensor *t, double low, double high) {
  return t->dtype == MT_FLOAT32 ? mt_elementwise(&clamp_op, t, low, high) : clamp_integers(t, low, high);
}

mt_tensor *mt_relu(mt_tensor *t) {
  return t->dtype == MT_FLOAT32 ? mt_elementwise(&relu_op, t, 0, 0) : clamp_integers(t, 0, INT32_MAX);
}
