/* Both directions are one walk over index, its partner of the same shape, and the table whose place along the axis the
 * numbers give. */
#include "ops/gather.h"

#include <string.h>

#include "autograd/tape.h"
#include "core/stream.h"
#include "kernels/kernels.h"
#include "ops/walk.h"

typedef struct {
  void *partner;
  const int32_t *index;
  void *table;
  int64_t step; /* of the axis in the table */
  bool streams; /* to the partner */
} gather_rows;

/* Of the walk's n elements `count` from `at` on; element: o in the partner, p in the table. */
#define GATHER_COUNT(type, element)                                                    \
  do {                                                                                 \
    const int32_t *place = index + at;                                                 \
    if (stride[2] == 0 && rows->step == 1) {                                           \
      for (int64_t i = 0; i < count; i++) {                                            \
        type *p = table + (place[i] - 1);                                              \
        element;                                                                       \
      }                                                                                \
    } else {                                                                           \
      for (int64_t i = 0; i < count; i++) {                                            \
        type *p = table + (at + i) * stride[2] + (int64_t)(place[i] - 1) * rows->step; \
        element;                                                                       \
      }                                                                                \
    }                                                                                  \
  } while (0)
#define GATHER_ROW(name, type, ...)                                                                \
  static void name(const void *context, int64_t n, const int64_t *offset, const int64_t *stride) { \
    const gather_rows *rows = context;                                                             \
    type *o = (type *)rows->partner + offset[0], *table = (type *)rows->table + offset[2];         \
    const int32_t *index = rows->index + offset[1];                                                \
    __VA_ARGS__;                                                                                   \
  }
#define GATHER(name, type) GATHER_ROW(name, type, MT_WRITE(type, rows->streams, o, n, GATHER_COUNT(type, out[i] = *p)))
#define GATHER_SUM(name, type)       \
  GATHER_ROW(name, type, {           \
    const int64_t at = 0, count = n; \
    GATHER_COUNT(type, *p += o[i]);  \
  })

GATHER(gather_bytes, uint8_t)
GATHER(gather_words, uint32_t)
GATHER_SUM(add_floats, float)
GATHER_SUM(add_words, uint32_t)

/* adds: elements of the index that name the same place add up there, in the index's order. Along the last axis they are
 * of one row. */
static void walk_gather(mt_row row, bool adds, const mt_tensor *table, int axis, const mt_tensor *index,
                        const mt_tensor *partner) {
  int64_t strides[MT_MAX_DIMS];
  mt_strides(table->ndim, table->shape, strides);
  const gather_rows rows = {
      .partner = partner->data,
      .index = mt_i32(index),
      .table = table->data,
      .step = strides[axis],
      .streams = !adds && mt_streams(mt_tensor_bytes(partner), mt_tensor_bytes(index) + mt_tensor_bytes(table))};
  strides[axis] = 0;
  mt_walk walk = mt_walk_over(index->ndim, index->shape);
  mt_walk_add(&walk, partner);
  mt_walk_add(&walk, index);
  mt_walk_add_strides(&walk, strides);
  walk.in_order = adds && axis < index->ndim - 1;
  walk.whole_rows = adds;
  mt_walk_run(&walk, row, &rows);
}

void mt_add_at(mt_tensor *into, int axis, const mt_tensor *index, const mt_tensor *source) {
  walk_gather(add_floats, true, into, axis, index, source);
}

static int check_index(const char *op, const mt_tensor *t, int axis, const mt_tensor *index) {
  char text[MT_SHAPE_TEXT], other[MT_SHAPE_TEXT];
  bool fits = index->ndim == t->ndim;
  if (mt_expect_dtype(index, MT_INT32, op, "index") < 0) return -1;
  for (int i = 0; fits && i < t->ndim; i++) fits = i == axis || index->shape[i] <= t->shape[i];
  if (!fits)
    return mt_fail(MT_ERROR_ARGUMENT, "%s: index has shape %s, expected the axes of %s, none longer but axis %d", op,
                   mt_shape_text(index->ndim, index->shape, text), mt_shape_text(t->ndim, t->shape, other), axis + 1);
  const int32_t *number = mt_i32(index);
  const int64_t most = t->shape[axis] < INT32_MAX ? t->shape[axis] : INT32_MAX;
  if (mt_kernels->all_within(number, index->count, (int32_t)most)) return 0;
  for (int64_t i = 0;; i++)
    if (number[i] < 1 || number[i] > t->shape[axis])
      return mt_fail(MT_ERROR_ARGUMENT, "%s: element %lld of index is %d, expected 1..%lld (axis %d of %s)", op,
                     (long long)i + 1, number[i], (long long)t->shape[axis], axis + 1,
                     mt_shape_text(t->ndim, t->shape, text));
}

/* ---- gather ---- */

typedef struct {
  int ndim, axis;
  int64_t shape[MT_MAX_DIMS]; /* of the table */
} gather_context;

static int gather_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const gather_context *c = node->context;
  grads[0] = mt_tensor_zeros(MT_FLOAT32, c->ndim, c->shape);
  if (!grads[0]) return -1;
  mt_add_at(grads[0], c->axis, node->saved[0], grad_output);
  return 0;
}

static const mt_op gather_op = {.name = "gather", .backward = gather_backward};

/* Unchecked and not recorded. */
static mt_tensor *gathered(const mt_tensor *t, int axis, const mt_tensor *index) {
  mt_tensor *result = mt_tensor_new(t->dtype, index->ndim, index->shape);
  if (result) walk_gather(mt_dtype_size(t->dtype) == 1 ? gather_bytes : gather_words, false, t, axis, index, result);
  return result;
}

mt_tensor *mt_gather(mt_tensor *t, int axis, mt_tensor *index) {
  if (check_index("gather", t, axis, index) < 0) return NULL;
  gather_context c = {.ndim = t->ndim, .axis = axis};
  memcpy(c.shape, t->shape, sizeof c.shape);
  return mt_recorded(gathered(t, axis, index), &gather_op, 1, &t, 1, &index, &c, sizeof c);
}

/* ---- scatter_add ---- */

static int scatter_add_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const int axis = *(const int *)node->context;
  if (node->needs[0]) grads[0] = mt_retain(grad_output);
  if (node->needs[1]) grads[1] = gathered(grad_output, axis, node->saved[0]);
  return node->needs[1] && !grads[1] ? -1 : 0;
}

static const mt_op scatter_add_op = {.name = "scatter_add", .backward = scatter_add_backward};

mt_tensor *mt_scatter_add(mt_tensor *t, int axis, mt_tensor *index, mt_tensor *source) {
  if (t->dtype == MT_UINT8)
    return mt_fail_null(MT_ERROR_ARGUMENT, "scatter_add: the tensor is uint8, expected float32 or int32");
  if (check_index("scatter_add", t, axis, index) < 0 ||
      mt_expect_dtype(source, t->dtype, "scatter_add", "source") < 0 ||
      mt_expect_shape(source, index->ndim, index->shape, "scatter_add", "source") < 0)
    return NULL;
  mt_tensor *result = mt_tensor_copy(t);
  if (result) walk_gather(t->dtype == MT_FLOAT32 ? add_floats : add_words, true, result, axis, index, source);
  mt_tensor *inputs[] = {t, source};
  return mt_recorded(result, &scatter_add_op, 2, inputs, 1, &index, &axis, sizeof axis);
}
