/* What the reductions share (reduce.c). */
#ifndef MT_OPS_REDUCE_INTERNAL_H
#define MT_OPS_REDUCE_INTERNAL_H

#include "ops/reduce.h"

/* The sums over n of the elements, or of their squared distance from the group's `centre`, in double precision and in
 * an order that the shape alone decides: outer * inner of them, from the pool. NULL on error. */
double *mt_reduction_sums(const mt_reduction_view *view, const double *centre);

/* Groups reduced one by one: result[i] from view->n elements, view->inner apart, from mt_group_start(view, i) on. */
typedef struct {
  const mt_reduction_view *view;
  float *result;
} mt_group_work;

static inline const float *mt_group_start(const mt_reduction_view *view, int64_t group) {
  return mt_f32(view->values) + group / view->inner * view->n * view->inner + group % view->inner;
}

/* What the gradient of a reduction needs to know. */
typedef struct {
  int ndim;
  int64_t size[MT_MAX_DIMS]; /* of the input */
  unsigned axes;
  double factor; /* each input element's share in the output */
} mt_reduction;

mt_reduction mt_reduction_of(const mt_tensor *t, unsigned axes, double factor);

/* g times the factor, under the shape that broadcasts to the input; shares nothing with g. */
mt_tensor *mt_keepdim_scaled(const mt_tensor *g, const mt_reduction *r);

#endif
