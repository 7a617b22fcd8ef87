/* Joining is copying blocks: with the axis in question a tensor is (outer, n, inner), and of each outer a block of
 * n * inner elements comes from every input. */
#include "ops/join.h"

#include <stdlib.h>
#include <string.h>

#include "autograd/tape.h"
#include "core/minmax.h"
#include "core/stream.h"
#include "core/threads.h"
#include "ops/part.h"
#include "ops/shape.h"

typedef struct {
  int axis;
  int n_lengths;
  bool stacked;     /* the inputs lack the axis */
  int64_t *lengths; /* of the axis in each input; owned */
} cat_context;

static void cat_destroy(void *context) { free(((cat_context *)context)->lengths); }

static int cat_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const cat_context *c = node->context;
  int64_t start = 0;
  for (int i = 0; i < node->n_inputs; i++) {
    if (node->needs[i]) {
      mt_tensor *part = mt_slice(grad_output, c->axis, start, c->lengths[i], 1);
      grads[i] = part && c->stacked ? mt_squeeze(part, c->axis) : part;
      if (c->stacked) mt_release(part);
      if (!grads[i]) return -1;
    }
    start += c->lengths[i];
  }
  return 0;
}

static const mt_op cat_op = {.name = "cat", .backward = cat_backward, .destroy = cat_destroy};
static const mt_op stack_op = {.name = "stack", .backward = cat_backward, .destroy = cat_destroy};

static int check_alike(mt_tensor *const *tensors, int count, int free_axis, const char *op) {
  const mt_tensor *first = tensors[0];
  for (int i = 1; i < count; i++) {
    const mt_tensor *t = tensors[i];
    bool alike = t->dtype == first->dtype && t->ndim == first->ndim;
    for (int axis = 0; alike && axis < t->ndim; axis++)
      alike = axis == free_axis || t->shape[axis] == first->shape[axis];
    if (alike) continue;
    char got[MT_SHAPE_TEXT], wanted[MT_SHAPE_TEXT];
    return mt_fail(MT_ERROR_ARGUMENT, "%s: tensor %d is %s %s, expected it to fit the first one, %s %s", op, i + 1,
                   mt_dtype_name(t->dtype), mt_shape_text(t->ndim, t->shape, got), mt_dtype_name(first->dtype),
                   mt_shape_text(first->ndim, first->shape, wanted));
  }
  return 0;
}

#define PARALLEL_FROM ((int64_t)128 << 10) /* bytes */
#define PIECE ((int64_t)256 << 10)         /* bytes of an outer place that a thread copies at a time, at most */

typedef struct {
  char *to;
  mt_tensor *const *tensors;
  const cat_context *context;
  int64_t unit, step; /* bytes of one of the axis's lengths, and from one outer place to the next in the result */
  int64_t pieces;     /* of an outer place */
  bool streams;
} joining;

/* Bytes [from, end) of an outer place: of all inputs' blocks what lies there, so that the result is written from its
 * start to its end. */
static void join_piece(const joining *j, int64_t outer, int64_t from, int64_t end) {
  char *to = j->to + outer * j->step;
  int64_t start = 0;
  for (int i = 0; i < j->context->n_lengths && start < end; i++) {
    const int64_t bytes = j->context->lengths[i] * j->unit;
    const int64_t first = mt_max64(from, start), last = mt_min64(end, start + bytes);
    if (first < last)
      mt_copy_out(j->streams, to + first, (const char *)j->tensors[i]->data + outer * bytes + (first - start),
                  last - first);
    start += bytes;
  }
}

static void join_range(const void *context, int64_t begin, int64_t end) {
  const joining *j = context;
  for (int64_t i = begin; i < end; i++) {
    const int64_t from = i % j->pieces * PIECE;
    join_piece(j, i / j->pieces, from, mt_min64(from + PIECE, j->step));
  }
}

/* Copies every input to its place; `result` has the axis also where the inputs lack it. */
static void join_blocks(mt_tensor *result, mt_tensor *const *tensors, const cat_context *c) {
  const mt_axis_view v = mt_view_axis(result, c->axis);
  const int64_t unit = v.inner * (int64_t)mt_dtype_size(result->dtype), step = v.n * unit;
  const int64_t pieces = mt_max64((step + PIECE - 1) / PIECE, 1), units = v.outer * pieces;
  mt_parallel(units, mt_chunk(units, mt_min64(step, PIECE), PARALLEL_FROM), join_range,
              &(joining){result->data, tensors, c, unit, step, pieces,
                         mt_streams(mt_tensor_bytes(result), mt_tensor_bytes(result))});
}

static mt_tensor *join(mt_tensor *const *tensors, const mt_op *op, cat_context *c, int ndim, const int64_t *shape) {
  mt_tensor *result = mt_tensor_new(tensors[0]->dtype, ndim, shape);
  if (!result) {
    cat_destroy(c);
    return NULL;
  }
  join_blocks(result, tensors, c);
  return mt_recorded(result, op, c->n_lengths, tensors, 0, NULL, c, sizeof *c);
}

static int64_t *new_lengths(int count) {
  int64_t *lengths = malloc((size_t)count * sizeof *lengths);
  return lengths ? lengths : mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot list %d tensors", count);
}

mt_tensor *mt_cat(mt_tensor *const *tensors, int count, int axis) {
  if (check_alike(tensors, count, axis, "cat") < 0) return NULL;
  cat_context c = {.axis = axis, .n_lengths = count, .lengths = new_lengths(count)};
  if (!c.lengths) return NULL;
  int64_t shape[MT_MAX_DIMS];
  memcpy(shape, tensors[0]->shape, sizeof shape);
  shape[axis] = 0;
  for (int i = 0; i < count; i++) shape[axis] += c.lengths[i] = tensors[i]->shape[axis];
  return join(tensors, &cat_op, &c, tensors[0]->ndim, shape);
}

mt_tensor *mt_stack(mt_tensor *const *tensors, int count, int axis) {
  const mt_tensor *first = tensors[0];
  if (check_alike(tensors, count, -1, "stack") < 0) return NULL;
  if (first->ndim == MT_MAX_DIMS)
    return mt_fail_null(MT_ERROR_ARGUMENT, "stack: the tensors have %d axes already, expected fewer", MT_MAX_DIMS);
  cat_context c = {.axis = axis, .n_lengths = count, .stacked = true, .lengths = new_lengths(count)};
  if (!c.lengths) return NULL;
  int64_t shape[MT_MAX_DIMS];
  for (int i = 0; i <= first->ndim; i++)
    shape[i] = i < axis ? first->shape[i] : i == axis ? count : first->shape[i - 1];
  for (int i = 0; i < count; i++) c.lengths[i] = 1;
  return join(tensors, &stack_op, &c, first->ndim + 1, shape);
}
