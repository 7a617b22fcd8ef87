#include "ops/masked.h"

#include <string.h>

#include "core/memory.h"
#include "ops/part.h"
#include "ops/reduce.h"
#include "ops/shape.h"
#include "ops/walk.h"

static bool is_nonzero(const mt_tensor *t, int64_t i) {
  switch (t->dtype) {
    case MT_FLOAT32:
      return mt_f32(t)[i] != 0.0f;
    case MT_UINT8:
      return mt_u8(t)[i] != 0;
    default:
      return mt_i32(t)[i] != 0;
  }
}

int64_t mt_count_nonzero(const mt_tensor *t) {
  int64_t n = 0;
  for (int64_t i = 0; i < t->count; i++) n += is_nonzero(t, i);
  return n;
}

void mt_list_nonzero(const mt_tensor *t, int64_t *places) {
  for (int64_t i = 0; i < t->count; i++)
    if (is_nonzero(t, i)) *places++ = i;
}

mt_tensor *mt_nonzero(const mt_tensor *t) {
  const int64_t shape[2] = {mt_count_nonzero(t), t->ndim};
  for (int axis = 0; axis < t->ndim; axis++)
    if (t->shape[axis] > INT32_MAX) return mt_fail_null(MT_ERROR_ARGUMENT, "nonzero: too many elements to number");
  mt_tensor *result = mt_tensor_new(MT_INT32, 2, shape);
  int32_t *row = result ? mt_i32(result) : NULL;
  for (int64_t i = 0; result && i < t->count; i++) {
    if (!is_nonzero(t, i)) continue;
    int64_t rest = i;
    for (int axis = t->ndim - 1; axis >= 0; axis--) {
      row[axis] = (int32_t)(rest % t->shape[axis]) + 1;
      rest /= t->shape[axis];
    }
    row += t->ndim;
  }
  return result;
}

/* The elements of two tensors of one shape. */
static mt_tensor *select_marked(mt_tensor *t, const mt_tensor *mask) {
  const int64_t n = mt_count_nonzero(mask), flat_shape[1] = {t->count};
  int64_t *places = mt_alloc((size_t)n * sizeof *places);
  mt_tensor *flat = places ? mt_reshape(t, 1, flat_shape) : NULL, *result = NULL;
  if (flat) {
    mt_list_nonzero(mask, places);
    result = mt_index_select(flat, 0, places, n);
  }
  mt_release(flat);
  mt_free(places);
  return result;
}

mt_tensor *mt_masked_select(mt_tensor *t, mt_tensor *mask) {
  int64_t shape[MT_MAX_DIMS];
  memcpy(shape, t->shape, sizeof shape);
  const int ndim = mt_broadcast_shape("masked_select", t->ndim, shape, mask);
  if (ndim < 0) return NULL;
  mt_tensor *whole = mt_expand(t, ndim, shape), *marks = whole ? mt_expand(mask, ndim, shape) : NULL;
  mt_tensor *result = marks ? select_marked(whole, marks) : NULL;
  mt_release(whole);
  mt_release(marks);
  return result;
}
