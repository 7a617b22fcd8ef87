/* Functions of one tensor. Each row of the table below is an operation: how values and gradients are computed over
 * a range, and what the gradient needs (its input or its output). Ranges are spread over threads in one place. */
#include "ops/elementwise.h"

#include <math.h>

#include "autograd/tape.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "ops/cast.h"

#define CHUNK 32768 /* elements a thread takes at a time */

/* What an operation has besides its tensor: the two ends of clamp, or the exponent of pow. */
typedef struct {
  double first, second;
} scalars;

typedef void (*forward_range)(const scalars *s, float *y, const float *x, int64_t n);
typedef void (*backward_range)(const scalars *s, float *dx, const float *saved, const float *dy, int64_t n);

typedef struct {
  mt_op op; /* first: a node's op pointer is a pointer to the whole */
  forward_range forward;
  backward_range backward;
  bool saves_output;
} elementwise_op;

/* ---- over a whole tensor ---- */

typedef struct {
  const elementwise_op *op;
  const scalars *scalars;
  float *to;
  const float *from, *grad; /* backward: `from` is what was saved */
} whole;

static void forward_chunk(const void *context, int64_t begin, int64_t end) {
  const whole *w = context;
  w->op->forward(w->scalars, w->to + begin, w->from + begin, end - begin);
}

static void backward_chunk(const void *context, int64_t begin, int64_t end) {
  const whole *w = context;
  w->op->backward(w->scalars, w->to + begin, w->from + begin, w->grad + begin, end - begin);
}

static int elementwise_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const elementwise_op *op = (const elementwise_op *)node->op;
  mt_tensor *dx = grads[0] = mt_tensor_like(grad_output);
  if (!dx) return -1;
  mt_parallel(dx->count, CHUNK, backward_chunk,
              &(whole){op, node->context, mt_f32(dx), mt_f32(node->saved[0]), mt_f32(grad_output)});
  return 0;
}

static mt_tensor *apply(const elementwise_op *op, mt_tensor *t, double first, double second) {
  const scalars s = {first, second};
  mt_tensor *x = mt_cast(t, MT_FLOAT32);
  mt_tensor *y = x ? mt_tensor_like(x) : NULL;
  if (y)
    mt_parallel(y->count, CHUNK, forward_chunk, &(whole){.op = op, .scalars = &s, .to = mt_f32(y), .from = mt_f32(x)});
  mt_tensor *saved = op->saves_output ? y : x;
  y = mt_recorded(y, &op->op, 1, &t, 1, &saved, &s, sizeof s);
  mt_release(x);
  return y;
}

/* ---- the operations: y = f(x), dx = f'(x) dy ---- */

#define FORWARD(name, value)                                                                 \
  static void name##_forward(const scalars *s, float *y, const float *x_values, int64_t n) { \
    (void)s;                                                                                 \
    for (int64_t i = 0; i < n; i++) {                                                        \
      const float x = x_values[i];                                                           \
      y[i] = value;                                                                          \
    }                                                                                        \
  }
/* `saved` is x or y, as the table says. */
#define BACKWARD(name, value)                                                                                 \
  static void name##_backward(const scalars *s, float *dx, const float *saved_values, const float *dy_values, \
                              int64_t n) {                                                                    \
    (void)s;                                                                                                  \
    for (int64_t i = 0; i < n; i++) {                                                                         \
      const float saved = saved_values[i], dy = dy_values[i];                                                 \
      (void)saved;                                                                                            \
      dx[i] = value;                                                                                          \
    }                                                                                                         \
  }

FORWARD(neg, -x)
BACKWARD(neg, -dy)

FORWARD(exp, expf(x))
BACKWARD(exp, saved *dy)

FORWARD(log, logf(x))
BACKWARD(log, dy / saved)

FORWARD(sqrt, sqrtf(x))
BACKWARD(sqrt, dy / (2.0f * saved))

FORWARD(abs, fabsf(x))
BACKWARD(abs, saved > 0.0f ? dy : saved < 0.0f ? -dy : 0.0f)

/* `high` wins where the ends are the wrong way round; NaN passes both comparisons' else branches. */
static float clamp_value(const scalars *s, float x) {
  const float low = (float)s->first, high = (float)s->second, raised = x < low ? low : x;
  return raised > high ? high : raised;
}

FORWARD(clamp, clamp_value(s, x))
/* Strictly inside, as in PyTorch 2.15; an infinite end is no end. */
static bool passes_clamp(const scalars *s, float x) {
  const bool above = s->first == -INFINITY || x > (float)s->first;
  return above && (s->second == INFINITY || x < (float)s->second);
}

BACKWARD(clamp, passes_clamp(s, saved) ? dy : 0.0f)

FORWARD(pow, s->first == 2.0 ? x * x : powf(x, (float)s->first))
BACKWARD(pow, s->first == 0.0   ? 0.0f
              : s->first == 2.0 ? 2.0f * saved * dy
                                : (float)s->first * powf(saved, (float)(s->first - 1.0)) * dy)

static void relu_forward(const scalars *s, float *y, const float *x, int64_t n) {
  (void)s;
  mt_kernels->relu(y, x, n);
}

static void relu_backward(const scalars *s, float *dx, const float *saved, const float *dy, int64_t n) {
  (void)s;
  mt_kernels->relu_backward(dx, saved, dy, n);
}

#define OPERATION(function, saves)              \
  static const elementwise_op function##_op = { \
      {.name = #function, .backward = elementwise_backward}, function##_forward, function##_backward, saves}
#define SAVES_INPUT false
#define SAVES_OUTPUT true

OPERATION(neg, SAVES_INPUT);
OPERATION(exp, SAVES_OUTPUT);
OPERATION(log, SAVES_INPUT);
OPERATION(sqrt, SAVES_OUTPUT);
OPERATION(abs, SAVES_INPUT);
OPERATION(relu, SAVES_OUTPUT);
OPERATION(clamp, SAVES_INPUT);
OPERATION(pow, SAVES_INPUT);

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

mt_tensor *mt_exp(mt_tensor *t) { return apply(&exp_op, t, 0, 0); }
mt_tensor *mt_log(mt_tensor *t) { return apply(&log_op, t, 0, 0); }
mt_tensor *mt_sqrt(mt_tensor *t) { return apply(&sqrt_op, t, 0, 0); }
mt_tensor *mt_pow(mt_tensor *t, double exponent) { return apply(&pow_op, t, exponent, 0); }

mt_tensor *mt_neg(mt_tensor *t) { return t->dtype == MT_FLOAT32 ? apply(&neg_op, t, 0, 0) : neg_int32(t); }

mt_tensor *mt_abs(mt_tensor *t) { return t->dtype == MT_FLOAT32 ? apply(&abs_op, t, 0, 0) : abs_integers(t); }

mt_tensor *mt_clamp(mt_tensor *t, double low, double high) {
  return t->dtype == MT_FLOAT32 ? apply(&clamp_op, t, low, high) : clamp_integers(t, low, high);
}

mt_tensor *mt_relu(mt_tensor *t) {
  return t->dtype == MT_FLOAT32 ? apply(&relu_op, t, 0, 0) : clamp_integers(t, 0, INT32_MAX);
}
