/* How functions of one tensor are written: MT_FORWARD(name, y as an expression of x), MT_BACKWARD(name, dx as an
 * expression of dy and what is saved), MT_ELEMENTWISE_OP(name, what is saved); then mt_elementwise(&name_op, ...) runs
 * it. */
#ifndef MT_OPS_ELEMENTWISE_OP_H
#define MT_OPS_ELEMENTWISE_OP_H

#include "autograd/tape.h"
#include "kernels/kernels.h"

/* What an operation has besides its tensor: the two ends of clamp, or the exponent of pow. */
typedef struct {
  double first, second;
} mt_scalars;

typedef void (*mt_forward_range)(const mt_scalars *s, float *y, const float *x, int64_t n);
typedef void (*mt_backward_range)(const mt_scalars *s, float *dx, const float *saved, const float *dy, int64_t n);

typedef enum { MT_SAVES_NOTHING, MT_SAVES_INPUT, MT_SAVES_OUTPUT } mt_elementwise_saves;

typedef struct {
  mt_op op; /* first: a node's op pointer is a pointer to the whole */
  mt_forward_range forward;
  mt_backward_range backward;
  mt_elementwise_saves saves;
} mt_elementwise_op;

/* float32 of t's shape; integers are converted first. */
mt_tensor *mt_elementwise(const mt_elementwise_op *op, mt_tensor *t, double first, double second);
int mt_elementwise_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads);

#define MT_FORWARD(name, value)                                                                 \
  static void name##_forward(const mt_scalars *s, float *y, const float *x_values, int64_t n) { \
    (void)s;                                                                                    \
    for (int64_t i = 0; i < n; i++) {                                                           \
      const float x = x_values[i];                                                              \
      y[i] = value;                                                                             \
    }                                                                                           \
  }
/* `saved` is x or y, as the operation says. */
#define MT_BACKWARD(name, value)                                                                                 \
  static void name##_backward(const mt_scalars *s, float *dx, const float *saved_values, const float *dy_values, \
                              int64_t n) {                                                                       \
    (void)s;                                                                                                     \
    for (int64_t i = 0; i < n; i++) {                                                                            \
      const float saved = saved_values[i], dy = dy_values[i];                                                    \
      (void)saved, (void)dy;                                                                                     \
      dx[i] = value;                                                                                             \
    }                                                                                                            \
  }

/* Both by the kernels of this name (kernels/functions.h). */
#define MT_BY_KERNEL(name)                                                                                      \
  static void name##_forward(const mt_scalars *s, float *y, const float *x, int64_t n) {                        \
    (void)s;                                                                                                    \
    mt_kernels->name(y, x, n);                                                                                  \
  }                                                                                                             \
  static void name##_backward(const mt_scalars *s, float *dx, const float *saved, const float *dy, int64_t n) { \
    (void)s;                                                                                                    \
    mt_kernels->name##_backward(dx, saved, dy, n);                                                              \
  }

#define MT_ELEMENTWISE_OP(function, what)          \
  static const mt_elementwise_op function##_op = { \
      {.name = #function, .backward = mt_elementwise_backward}, function##_forward, function##_backward, what}

#endif
