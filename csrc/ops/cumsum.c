#include "ops/cumsum.h"

#include "autograd/tape.h"
#include "core/threads.h"
#include "ops/cast.h"
#include "ops/shape.h"

#define PARALLEL_FROM 32768

#define TOGETHER 8 /* groups that are summed side by side: one addition waits for the one before it */

/* Of each group n elements `step` apart (backwards where negative), summed in double precision; groups lie `apart`. */
static inline __attribute__((always_inline)) void sum_groups(float *y, const float *x, int64_t n, int64_t step,
                                                             int64_t apart, int groups) {
  double sums[TOGETHER] = {0.0};
  for (int64_t i = 0; i < n; i++, x += step, y += step)
    for (int g = 0; g < groups; g++) y[g * apart] = (float)(sums[g] += (double)x[g * apart]);
}

typedef struct {
  mt_axis_view view;
  bool back;
  const float *x;
  float *y;
} summing;

static void cumsum_range(const void *context, int64_t begin, int64_t end) {
  const summing *s = context;
  const mt_axis_view *v = &s->view;
  const int64_t step = s->back ? -v->inner : v->inner;
  for (int64_t group = begin; v->n > 0 && group < end;) {
    const int64_t column = group % v->inner, first = (group - column) * v->n + column;
    const int64_t at = s->back ? first + (v->n - 1) * v->inner : first;
    const bool fit = end - group >= TOGETHER && (v->inner == 1 || v->inner - column >= TOGETHER);
    if (!fit)
      sum_groups(s->y + at, s->x + at, v->n, step, 0, 1);
    else if (v->inner == 1)
      sum_groups(s->y + at, s->x + at, v->n, step, v->n, TOGETHER);
    else
      sum_groups(s->y + at, s->x + at, v->n, step, 1, TOGETHER);
    group += fit ? TOGETHER : 1;
  }
}

/* From the first element on, or from the last one back. */
static void float_cumsum(mt_tensor *y, const mt_tensor *x, int axis, bool back) {
  const summing s = {mt_view_axis(x, axis), back, mt_f32(x), mt_f32(y)};
  const int64_t groups = s.view.outer * s.view.inner;
  mt_parallel(groups, mt_chunk(groups, s.view.n, PARALLEL_FROM), cumsum_range, &s);
}

/* dx[i] = the sum of dy[i], dy[i + 1], ... */
static int cumsum_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  grads[0] = mt_tensor_like(grad_output);
  if (!grads[0]) return -1;
  float_cumsum(grads[0], grad_output, *(const int *)node->context, true);
  return 0;
}

static const mt_op cumsum_op = {.name = "cumsum", .backward = cumsum_backward};

/* In place; -1 where a sum does not fit. */
static int integer_cumsum(mt_tensor *y, int axis) {
  const mt_axis_view v = mt_view_axis(y, axis);
  for (int64_t group = 0; group < v.outer * v.inner; group++) {
    int32_t *values = mt_i32(y) + group / v.inner * v.n * v.inner + group % v.inner;
    int64_t sum = 0;
    for (int64_t i = 0; i < v.n; i++) {
      sum += values[i * v.inner];
      if (sum < INT32_MIN || sum > INT32_MAX)
        return mt_fail(MT_ERROR_ARGUMENT,
                       "cumsum: a result is %lld, expected one that fits in int32; convert to float32 first",
                       (long long)sum);
      values[i * v.inner] = (int32_t)sum;
    }
  }
  return 0;
}

mt_tensor *mt_cumsum(mt_tensor *t, int axis) {
  if (t->dtype == MT_FLOAT32) {
    mt_tensor *y = mt_tensor_like(t);
    if (y) float_cumsum(y, t, axis, false);
    return mt_recorded(y, &cumsum_op, 1, &t, 0, NULL, &axis, sizeof axis);
  }
  mt_tensor *y = t->dtype == MT_INT32 ? mt_tensor_copy(t) : mt_cast(t, MT_INT32);
  if (!y || integer_cumsum(y, axis) == 0) return y;
  mt_release(y);
  return NULL;
}
