/* Largest and smallest elements. One search over (outer, n, inner) yields positions; values and gradients follow
 * from them, except that an extreme over several axes shares its gradient among equals. */
#include "ops/extremum.h"

#include <string.h>

#include "autograd/tape.h"
#include "core/memory.h"
#include "core/minmax.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "ops/reduce.h"
#include "ops/shape.h"
#include "ops/walk.h"

#define PARALLEL_FROM 32768
#define COLUMNS 256 /* searched side by side */
#define PIECES 128  /* of a long row, at most */

/* The 0-based position of the extreme among x[0], x[inner], ... The first NaN ends the search: nothing beats it. */
#define SEARCH(name, type)                                                     \
  static int64_t name(const type *x, int64_t n, int64_t inner, bool largest) { \
    int64_t best = 0;                                                          \
    for (int64_t i = 0; i < n; i++) {                                          \
      const type value = x[i * inner], leader = x[best * inner];               \
      if (value != value) return i;                                            \
      if (largest ? value > leader : value < leader) best = i;                 \
    }                                                                          \
    return best;                                                               \
  }

SEARCH(search_uint8, uint8_t)
SEARCH(search_int32, int32_t)

/* A row in pieces, of which each finds its own extreme. */
typedef struct {
  const float *x;
  int64_t n, piece;
  int sign;
  int64_t *positions;
  float *values;
} row_search;

static void search_pieces(const void *context, int64_t begin, int64_t end) {
  const row_search *s = context;
  for (int64_t i = begin; i < end; i++) {
    const int64_t first = i * s->piece;
    s->positions[i] = first + mt_kernels->extreme_row(s->x + first, mt_min64(s->piece, s->n - first), s->sign);
    s->values[i] = s->x[s->positions[i]];
  }
}

/* The first of the pieces' extremes, and the first NaN, are the row's. */
static int64_t search_row(const float *x, int64_t n, int sign) {
  int64_t positions[PIECES];
  float values[PIECES];
  if (n <= PARALLEL_FROM) return mt_kernels->extreme_row(x, n, sign);
  const int64_t piece = mt_max64(PARALLEL_FROM, (n + PIECES - 1) / PIECES), pieces = (n + piece - 1) / piece;
  mt_parallel(pieces, 1, search_pieces, &(row_search){x, n, piece, sign, positions, values});
  return positions[mt_kernels->extreme_row(values, pieces, sign)];
}

static int64_t search(const mt_reduction_view *v, int64_t at, bool largest) {
  switch (v->values->dtype) {
    case MT_FLOAT32:
      return search_row(mt_f32(v->values) + at, v->n, largest ? 1 : -1);
    case MT_UINT8:
      return search_uint8(mt_u8(v->values) + at, v->n, v->inner, largest);
    default:
      return search_int32(mt_i32(v->values) + at, v->n, v->inner, largest);
  }
}

typedef struct {
  const mt_reduction_view *view;
  bool largest;
  int32_t *positions; /* NULL: not wanted */
  mt_tensor *values;  /* NULL: not wanted */
} extremes;

static void search_range(const void *context, int64_t begin, int64_t end) {
  const extremes *e = context;
  const mt_reduction_view *v = e->view;
  const size_t size = mt_dtype_size(v->values->dtype);
  for (int64_t i = begin; i < end; i++) {
    const int64_t start = i / v->inner * v->n * v->inner + i % v->inner;
    const int64_t position = search(v, start, e->largest);
    if (e->positions) e->positions[i] = (int32_t)position;
    if (e->values)
      memcpy((char *)e->values->data + (size_t)i * size,
             (const char *)v->values->data + (size_t)(start + position * v->inner) * size, size);
  }
}

/* Blocks of columns of float32 numbers. */
static void search_columns(const void *context, int64_t begin, int64_t end) {
  const extremes *e = context;
  const mt_reduction_view *v = e->view;
  const int64_t blocks = (v->inner + COLUMNS - 1) / COLUMNS;
  for (int64_t i = begin; i < end; i++) {
    float values[COLUMNS];
    int32_t positions[COLUMNS];
    const int64_t outer = i / blocks, column = i % blocks * COLUMNS, at = outer * v->inner + column;
    const int width = v->inner - column < COLUMNS ? (int)(v->inner - column) : COLUMNS;
    mt_kernels->extreme_columns(mt_f32(v->values) + outer * v->n * v->inner + column, v->n, v->inner, width,
                                e->largest ? 1 : -1, values, positions);
    if (e->positions) memcpy(e->positions + at, positions, (size_t)width * sizeof *positions);
    if (e->values) memcpy(mt_f32(e->values) + at, values, (size_t)width * sizeof *values);
  }
}

/* Positions (0-based, along n) and, where wanted, values of all outer * inner extremes. */
static void search_all(const mt_reduction_view *v, bool largest, int32_t *positions, mt_tensor *values) {
  const extremes e = {v, largest, positions, values};
  const bool by_columns = v->values->dtype == MT_FLOAT32 && v->inner > 1;
  const int64_t blocks = (v->inner + COLUMNS - 1) / COLUMNS, count = v->outer * (by_columns ? blocks : v->inner);
  mt_parallel(count, mt_chunk(count, v->n * (by_columns ? v->inner / blocks : 1), PARALLEL_FROM),
              by_columns ? search_columns : search_range, &e);
}

static int check_nonempty(const mt_reduction_view *view, const mt_tensor *t, const char *op) {
  char text[MT_SHAPE_TEXT];
  if (view->n > INT32_MAX) return mt_fail(MT_ERROR_ARGUMENT, "%s: too many elements to number", op);
  if (view->n > 0) return 0;
  return mt_fail(MT_ERROR_ARGUMENT, "%s: the tensor has shape %s, expected elements to choose from", op,
                 mt_shape_text(t->ndim, t->shape, text));
}

static const char *op_name(bool largest) { return largest ? "max" : "min"; }

/* ---- along one axis ---- */

typedef struct {
  int ndim, axis;
  int64_t shape[MT_MAX_DIMS]; /* of the input */
} along_context;

static int along_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const along_context *c = node->context;
  mt_tensor *dx = grads[0] = mt_tensor_zeros(MT_FLOAT32, c->ndim, c->shape);
  if (!dx) return -1;
  const mt_axis_view v = mt_view_axis(dx, c->axis);
  for (int64_t i = 0; i < grad_output->count; i++) {
    const int64_t position = mt_i32(node->saved[0])[i] - 1;
    mt_f32(dx)[(i / v.inner * v.n + position) * v.inner + i % v.inner] = mt_f32(grad_output)[i];
  }
  return 0;
}

static const mt_op max_along_op = {.name = "max", .backward = along_backward};
static const mt_op min_along_op = {.name = "min", .backward = along_backward};

/* Positions made 1-based; either output may be left out (NULL). */
static int extremes_along(mt_tensor *t, bool largest, int axis, bool keepdim, const char *op, mt_tensor **values,
                          mt_tensor **positions) {
  int64_t shape[MT_MAX_DIMS];
  const mt_axis_view axes = mt_view_axis(t, axis);
  const mt_reduction_view view = {.values = t, .outer = axes.outer, .n = axes.n, .inner = axes.inner};
  if (check_nonempty(&view, t, op) < 0) return -1;
  const int ndim = mt_reduced_shape(t, 1u << axis, keepdim, shape);
  *positions = mt_tensor_new(MT_INT32, ndim, shape);
  if (values) *values = mt_tensor_new(t->dtype, ndim, shape);
  if (!*positions || (values && !*values)) {
    mt_release(*positions);
    if (values) mt_release(*values);
    return -1;
  }
  search_all(&view, largest, mt_i32(*positions), values ? *values : NULL);
  for (int64_t i = 0; i < (*positions)->count; i++) mt_i32(*positions)[i]++;
  return 0;
}

mt_tensor *mt_extreme_along(mt_tensor *t, bool largest, int axis, bool keepdim, mt_tensor **positions) {
  mt_tensor *values = NULL;
  if (extremes_along(t, largest, axis, keepdim, op_name(largest), &values, positions) < 0) return NULL;
  along_context context = {.ndim = t->ndim, .axis = axis};
  memcpy(context.shape, t->shape, sizeof context.shape);
  values = mt_recorded(values, largest ? &max_along_op : &min_along_op, 1, &t, 1, positions, &context, sizeof context);
  if (!values) mt_release(*positions);
  return values;
}

mt_tensor *mt_argmax(mt_tensor *t, int axis, bool keepdim) {
  mt_tensor *positions = NULL;
  if (axis >= 0) return extremes_along(t, true, axis, keepdim, "argmax", NULL, &positions) < 0 ? NULL : positions;
  mt_tensor *flat = mt_tensor_alias(t, 0, 1, &t->count);
  const int status = flat ? extremes_along(flat, true, 0, false, "argmax", NULL, &positions) : -1;
  mt_release(flat);
  return status < 0 ? NULL : positions;
}

/* ---- over any axes ---- */

typedef struct {
  float *dx;
  const float *x, *extreme, *share;
} share_rows;

static void share_row(const void *context, int64_t n, const int64_t *offset, const int64_t *stride) {
  const share_rows *p = context;
  for (int64_t i = 0; i < n; i++) {
    const float x = p->x[offset[1] + i], extreme = p->extreme[offset[2] + i * stride[2]];
    const bool equal = x == extreme || (x != x && extreme != extreme);
    p->dx[offset[0] + i] = equal ? p->share[offset[3] + i * stride[3]] : 0.0f;
  }
}

/* dx = share where x equals the extreme of its group, 0 elsewhere; extreme and share have the group's shape. */
static void spread(mt_tensor *dx, mt_tensor *x, mt_tensor *extreme, mt_tensor *share) {
  mt_walk walk = mt_walk_over(x->ndim, x->shape);
  mt_walk_add(&walk, dx);
  mt_walk_add(&walk, x);
  mt_walk_add(&walk, extreme);
  mt_walk_add(&walk, share);
  const share_rows rows = {mt_f32(dx), mt_f32(x), mt_f32(extreme), mt_f32(share)};
  mt_walk_run(&walk, share_row, &rows);
}

static int extreme_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const unsigned axes = *(const unsigned *)node->context;
  mt_tensor *x = node->saved[0];
  int64_t kept[MT_MAX_DIMS];
  const int ndim = mt_reduced_shape(x, axes, true, kept);
  mt_tensor *extreme = mt_tensor_alias(node->saved[1], 0, ndim, kept);
  mt_tensor *share = mt_tensor_full(MT_FLOAT32, ndim, kept, 1.0);
  mt_tensor *dx = mt_tensor_like(x), *equals = NULL;
  if (extreme && share && dx) {
    spread(dx, x, extreme, share); /* 1 at every equal */
    equals = mt_sum_to_shape(dx, ndim, kept);
  }
  if (equals) {
    for (int64_t i = 0; i < share->count; i++) mt_f32(share)[i] = mt_f32(grad_output)[i] / mt_f32(equals)[i];
    spread(dx, x, extreme, share);
    grads[0] = mt_retain(dx);
  }
  mt_release(extreme);
  mt_release(share);
  mt_release(equals);
  mt_release(dx);
  return grads[0] ? 0 : -1;
}

static const mt_op max_op = {.name = "max", .backward = extreme_backward};
static const mt_op min_op = {.name = "min", .backward = extreme_backward};

mt_tensor *mt_extreme(mt_tensor *t, bool largest, unsigned axes, bool keepdim) {
  int64_t shape[MT_MAX_DIMS];
  mt_reduction_view view;
  if (mt_view_reduction(t, axes, &view) < 0) return NULL;
  mt_tensor *result = NULL;
  if (check_nonempty(&view, t, op_name(largest)) == 0) {
    const int ndim = mt_reduced_shape(t, axes, keepdim, shape);
    result = mt_tensor_new(t->dtype, ndim, shape);
  }
  if (result) search_all(&view, largest, NULL, result);
  mt_release(view.values);
  mt_tensor *saved[] = {t, result};
  return mt_recorded(result, largest ? &max_op : &min_op, 1, &t, 2, saved, &axes, sizeof axes);
}
