/* Each element becomes one 64-bit item: a key that orders as the element does, above its place. Comparing items as
 * integers then sorts stably, for every element type and either direction. Each thread has scratch for two groups. */
#include "ops/sort.h"

#include <string.h>

#include "autograd/tape.h"
#include "core/memory.h"
#include "core/threads.h"
#include "ops/gather.h"
#include "ops/shape.h"

#define PARALLEL_FROM 4096
#define RUN 8 /* items that are sorted by insertion */

/* ---- items ---- */

#define TOP_BIT ((uint32_t)1 << 31)

static uint32_t float_key(float x) {
  uint32_t bits;
  const float value = x + 0.0f; /* -0 equals 0 */
  memcpy(&bits, &value, sizeof bits);
  return x != x ? UINT32_MAX : bits ^ (bits >> 31 ? UINT32_MAX : TOP_BIT);
}

typedef struct {
  const void *values;
  mt_dtype dtype;
  bool descending;
  int64_t first, step; /* element i of the group lies at first + i * step */
} group;

/* Inlined where the type and the direction are constants. */
static inline __attribute__((always_inline)) uint64_t item_of(const group *g, mt_dtype dtype, bool descending,
                                                              int64_t i) {
  const int64_t at = g->first + i * g->step;
  const uint32_t key = dtype == MT_FLOAT32 ? float_key(((const float *)g->values)[at])
                       : dtype == MT_UINT8 ? ((const uint8_t *)g->values)[at]
                                           : (uint32_t)((const int32_t *)g->values)[at] ^ TOP_BIT;
  return (uint64_t)(descending ? ~key : key) << 32 | (uint64_t)i;
}

static void sort_run(uint64_t *items, int64_t n) {
  for (int64_t i = 1; i < n; i++) {
    const uint64_t item = items[i];
    int64_t at = i;
    for (; at > 0 && items[at - 1] > item; at--) items[at] = items[at - 1];
    items[at] = item;
  }
}

static void merge(const uint64_t *a, int64_t n_a, const uint64_t *b, int64_t n_b, uint64_t *out) {
  int64_t i = 0, j = 0;
  while (i < n_a && j < n_b) *out++ = a[i] < b[j] ? a[i++] : b[j++];
  memcpy(out, a + i, (size_t)(n_a - i) * sizeof *out);
  memcpy(out + (n_a - i), b + j, (size_t)(n_b - j) * sizeof *out);
}

static int64_t at_most(int64_t n, int64_t limit) { return n < limit ? n : limit; }

/* Sorts n items with as many of scratch; returns whichever of the two holds them. */
static uint64_t *sort_items(uint64_t *items, uint64_t *scratch, int64_t n) {
  for (int64_t at = 0; at < n; at += RUN) sort_run(items + at, at_most(n - at, RUN));
  for (int64_t run = RUN; run < n; run *= 2) {
    for (int64_t at = 0; at < n; at += 2 * run) {
      const int64_t first = at_most(n - at, run), second = at_most(n - at - first, run);
      merge(items + at, first, items + at + first, second, scratch + at);
    }
    uint64_t *const sorted = scratch;
    scratch = items;
    items = sorted;
  }
  return items;
}

/* ---- the k smallest ---- */

/* items[0..k-1] is a heap, its largest on top, but for the item at `at`. */
static void sift_down(uint64_t *items, int64_t k, int64_t at) {
  const uint64_t item = items[at];
  for (int64_t child = 2 * at + 1; child < k; child = 2 * at + 1) {
    if (child + 1 < k && items[child + 1] > items[child]) child++;
    if (items[child] <= item) break;
    items[at] = items[child];
    at = child;
  }
  items[at] = item;
}

/* The k smallest items of n, in any order; all of them where k is n. */
static inline __attribute__((always_inline)) void take_items(const group *g, mt_dtype dtype, bool descending, int64_t n,
                                                             int64_t k, uint64_t *items) {
  for (int64_t i = 0; i < k; i++) items[i] = item_of(g, dtype, descending, i);
  if (k == n || k == 0) return;
  for (int64_t at = k / 2 - 1; at >= 0; at--) sift_down(items, k, at);
  for (int64_t i = k; i < n; i++) {
    const uint64_t item = item_of(g, dtype, descending, i);
    if (item >= items[0]) continue;
    items[0] = item;
    sift_down(items, k, 0);
  }
}

static void take(const group *g, int64_t n, int64_t k, uint64_t *items) {
#define TAKE(dtype) g->descending ? take_items(g, dtype, true, n, k, items) : take_items(g, dtype, false, n, k, items)
  switch (g->dtype) {
    case MT_FLOAT32:
      TAKE(MT_FLOAT32);
      break;
    case MT_UINT8:
      TAKE(MT_UINT8);
      break;
    default:
      TAKE(MT_INT32);
  }
#undef TAKE
}

/* ---- along an axis ---- */

typedef struct {
  const mt_tensor *t;
  mt_axis_view view;
  int64_t k;
  bool descending;
  mt_tensor *values; /* may be NULL */
  mt_tensor *positions;
  uint64_t *items; /* 2 n of each worker */
} sorting;

static void sort_group(const sorting *s, int64_t number, uint64_t *items) {
  const int64_t n = s->view.n, inner = s->view.inner, o = number / inner, column = number % inner;
  const size_t size = mt_dtype_size(s->t->dtype);
  take(&(group){s->t->data, s->t->dtype, s->descending, o * n * inner + column, inner}, n, s->k, items);
  const uint64_t *sorted = sort_items(items, items + n, s->k);
  for (int64_t i = 0; i < s->k; i++) {
    const int64_t place = (int64_t)(sorted[i] & UINT32_MAX), to = (o * s->k + i) * inner + column;
    mt_i32(s->positions)[to] = (int32_t)place + 1;
    if (s->values)
      memcpy((char *)s->values->data + (size_t)to * size,
             (const char *)s->t->data + (size_t)((o * n + place) * inner + column) * size, size);
  }
}

static void sort_range(const void *context, int64_t begin, int64_t end) {
  const sorting *s = context;
  for (int64_t number = begin; number < end; number++) sort_group(s, number, s->items + 2 * s->view.n * mt_worker());
}

static int sort_groups(sorting *s) {
  const int64_t groups = s->view.outer * s->view.inner, workers = at_most(mt_num_threads(), groups);
  s->items = mt_alloc((size_t)(2 * s->view.n * workers) * sizeof *s->items);
  if (!s->items) return -1;
  mt_parallel(groups, mt_chunk(groups, s->view.n, PARALLEL_FROM), sort_range, s);
  mt_free(s->items);
  return 0;
}

/* values and positions are made here; `values` may be NULL. */
static int sort_along(mt_tensor *t, int axis, int64_t k, bool descending, const char *op, mt_tensor **values,
                      mt_tensor **positions) {
  int64_t shape[MT_MAX_DIMS];
  sorting s = {.t = t, .view = mt_view_axis(t, axis), .k = k, .descending = descending};
  if (s.view.n > INT32_MAX) return mt_fail(MT_ERROR_ARGUMENT, "%s: too many elements to number", op);
  memcpy(shape, t->shape, sizeof shape);
  shape[axis] = k;
  s.positions = mt_tensor_new(MT_INT32, t->ndim, shape);
  s.values = s.positions && values ? mt_tensor_new(t->dtype, t->ndim, shape) : NULL;
  const bool made = s.positions && (!values || s.values);
  if (made && (s.positions->count == 0 || sort_groups(&s) == 0)) {
    *positions = s.positions;
    if (values) *values = s.values;
    return 0;
  }
  mt_release(s.positions);
  mt_release(s.values);
  return -1;
}

/* ---- the operations ---- */

typedef struct {
  int ndim, axis;
  int64_t shape[MT_MAX_DIMS]; /* of the input */
} sort_context;

static int sort_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const sort_context *c = node->context;
  grads[0] = mt_tensor_zeros(MT_FLOAT32, c->ndim, c->shape);
  if (!grads[0]) return -1;
  mt_add_at(grads[0], c->axis, node->saved[0], grad_output);
  return 0;
}

static const mt_op sort_op = {.name = "sort", .backward = sort_backward};
static const mt_op topk_op = {.name = "topk", .backward = sort_backward};

static mt_tensor *sorted(mt_tensor *t, int axis, int64_t k, bool descending, const mt_op *op, mt_tensor **positions) {
  mt_tensor *values = NULL;
  if (sort_along(t, axis, k, descending, op->name, &values, positions) < 0) return NULL;
  sort_context c = {.ndim = t->ndim, .axis = axis};
  memcpy(c.shape, t->shape, sizeof c.shape);
  values = mt_recorded(values, op, 1, &t, 1, positions, &c, sizeof c);
  if (!values) mt_release(*positions);
  return values;
}

mt_tensor *mt_sort(mt_tensor *t, int axis, bool descending, mt_tensor **positions) {
  return sorted(t, axis, t->shape[axis], descending, &sort_op, positions);
}

mt_tensor *mt_argsort(mt_tensor *t, int axis, bool descending) {
  mt_tensor *positions = NULL;
  return sort_along(t, axis, t->shape[axis], descending, "argsort", NULL, &positions) < 0 ? NULL : positions;
}

mt_tensor *mt_topk(mt_tensor *t, int64_t k, int axis, bool largest, mt_tensor **positions) {
  return sorted(t, axis, k, largest, &topk_op, positions);
}
