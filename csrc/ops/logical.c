#include "ops/logical.h"

#include "core/threads.h"
#include "ops/reduce.h"

#define PARALLEL_FROM 32768

/* Whether there is an element that is not 0 (wanted) or one that is 0 (not wanted). */
#define FIND(name, type)                                                  \
  static bool name(const type *x, int64_t n, int64_t step, bool wanted) { \
    for (int64_t i = 0; i < n; i++)                                       \
      if ((x[i * step] != 0) == wanted) return true;                      \
    return false;                                                         \
  }

FIND(find_float32, float)
FIND(find_uint8, uint8_t)
FIND(find_int32, int32_t)

static bool find(const mt_reduction_view *v, int64_t group, bool wanted) {
  const int64_t at = group / v->inner * v->n * v->inner + group % v->inner;
  switch (v->values->dtype) {
    case MT_FLOAT32:
      return find_float32(mt_f32(v->values) + at, v->n, v->inner, wanted);
    case MT_UINT8:
      return find_uint8(mt_u8(v->values) + at, v->n, v->inner, wanted);
    default:
      return find_int32(mt_i32(v->values) + at, v->n, v->inner, wanted);
  }
}

typedef struct {
  const mt_reduction_view *view;
  bool any;
  uint8_t *result;
} search;

static void find_range(const void *context, int64_t begin, int64_t end) {
  const search *s = context;
  for (int64_t i = begin; i < end; i++) s->result[i] = find(s->view, i, s->any) == s->any;
}

/* any: something that is not 0 is found; all: nothing that is 0 is found. */
static mt_tensor *quantified(mt_tensor *t, unsigned axes, bool keepdim, bool any) {
  int64_t shape[MT_MAX_DIMS];
  mt_reduction_view v;
  if (mt_view_reduction(t, axes, &v) < 0) return NULL;
  mt_tensor *result = mt_tensor_new(MT_UINT8, mt_reduced_shape(t, axes, keepdim, shape), shape);
  if (result)
    mt_parallel(result->count, mt_chunk(result->count, v.n, PARALLEL_FROM), find_range,
                &(search){&v, any, mt_u8(result)});
  mt_release(v.values);
  return result;
}

mt_tensor *mt_any(mt_tensor *t, unsigned axes, bool keepdim) { return quantified(t, axes, keepdim, true); }
mt_tensor *mt_all(mt_tensor *t, unsigned axes, bool keepdim) { return quantified(t, axes, keepdim, false); }
