/* Reading, writing and adding are one walk over a part and a tensor of its shape; the place along a listed axis comes
 * from the list, everything else from strides. */
#include "ops/part.h"

#include <stdlib.h>
#include <string.h>

#include "autograd/tape.h"
#include "kernels/kernels.h"
#include "ops/cast.h"
#include "ops/walk.h"

mt_part mt_part_whole(const mt_tensor *t) {
  mt_part part = {.listed = -1};
  for (int i = 0; i < t->ndim; i++) part.axis[i] = (mt_range){.start = 0, .step = 1, .count = t->shape[i]};
  return part;
}

int mt_part_shape(const mt_tensor *t, const mt_part *part, int64_t shape[MT_MAX_DIMS]) {
  int ndim = 0;
  for (int i = 0; i < t->ndim; i++)
    if (!part->axis[i].single) shape[ndim++] = part->axis[i].count;
  return ndim;
}

static int check_places(const mt_tensor *t, const mt_part *part) {
  const int axis = part->listed;
  for (int64_t i = 0; axis >= 0 && i < part->axis[axis].count; i++) {
    if (part->places[i] >= 0 && part->places[i] < t->shape[axis]) continue;
    char text[MT_SHAPE_TEXT];
    return mt_fail(MT_ERROR_ARGUMENT, "index: element %lld of the list is %lld, expected 1..%lld (axis %d of %s)",
                   (long long)i + 1, (long long)part->places[i] + 1, (long long)t->shape[axis], axis + 1,
                   mt_shape_text(t->ndim, t->shape, text));
  }
  return 0;
}

/* ---- the walk ---- */

/* `other` has the part's shape (or broadcasts to it); `part` is the tensor's element where every range starts. */
typedef struct {
  char *other, *part;
  const int64_t *places;
  int64_t place_step;
} part_rows;

/* element(o, p): o in other, p in the part; together(o, p, n): a row that is one piece on both sides. */
#define PART_ROW(name, type, element, together)                                                             \
  static void name(const void *context, int64_t n, const int64_t *offset, const int64_t *stride) {          \
    const part_rows *rows = context;                                                                        \
    type *o = (type *)rows->other + offset[0], *p = (type *)rows->part + offset[1];                         \
    const int64_t *places = rows->places + offset[2], step = rows->place_step;                              \
    if (stride[2] != 0) {                                                                                   \
      for (int64_t i = 0; i < n; i++) element((o + i * stride[0]), (p + i * stride[1] + places[i] * step)); \
      return;                                                                                               \
    }                                                                                                       \
    p += *places * step;                                                                                    \
    if (stride[0] == 1 && stride[1] == 1) {                                                                 \
      together(o, p, n);                                                                                    \
    } else {                                                                                                \
      for (int64_t i = 0; i < n; i++) element((o + i * stride[0]), (p + i * stride[1]));                    \
    }                                                                                                       \
  }

#define READ_ONE(o, p) *o = *p
#define READ_ROW(o, p, n) memcpy(o, p, (size_t)n * sizeof *p)
#define WRITE_ONE(o, p) *p = *o
#define WRITE_ROW(o, p, n) memcpy(p, o, (size_t)n * sizeof *p)
#define ADD_ONE(o, p) *p += *o
#define ADD_ROW(o, p, n) mt_kernels->add(p, p, 1, o, 1, n)

PART_ROW(read_bytes, uint8_t, READ_ONE, READ_ROW)
PART_ROW(read_words, uint32_t, READ_ONE, READ_ROW)
PART_ROW(write_bytes, uint8_t, WRITE_ONE, WRITE_ROW)
PART_ROW(write_words, uint32_t, WRITE_ONE, WRITE_ROW)
PART_ROW(add_floats, float, ADD_ONE, ADD_ROW)

typedef enum { READ, WRITE, ADD } part_action;

/* Places that a list names twice are written in the list's order, by one thread. */
static void walk_part(part_action action, const mt_tensor *t, const mt_part *part, const mt_tensor *other) {
  static const mt_row byte_rows[] = {[READ] = read_bytes, [WRITE] = write_bytes};
  static const mt_row word_rows[] = {[READ] = read_words, [WRITE] = write_words, [ADD] = add_floats};
  static const int64_t nowhere = 0;
  int64_t own[MT_MAX_DIMS], shape[MT_MAX_DIMS], strides[MT_MAX_DIMS], list[MT_MAX_DIMS] = {0}, first = 0;
  int ndim = 0;
  mt_strides(t->ndim, t->shape, own);
  for (int i = 0; i < t->ndim; i++) {
    first += part->axis[i].start * own[i];
    if (part->axis[i].single) continue;
    list[ndim] = i == part->listed;
    strides[ndim] = i == part->listed ? 0 : part->axis[i].step * own[i];
    shape[ndim++] = part->axis[i].count;
  }
  mt_walk walk = mt_walk_over(ndim, shape);
  mt_walk_add(&walk, other);
  mt_walk_add_strides(&walk, strides);
  mt_walk_add_strides(&walk, list);
  walk.in_order = action != READ && part->listed >= 0;
  const size_t size = mt_dtype_size(t->dtype);
  const part_rows rows = {.other = other->data,
                          .part = (char *)t->data + first * (int64_t)size,
                          .places = part->listed >= 0 ? part->places : &nowhere,
                          .place_step = part->listed >= 0 ? own[part->listed] : 0};
  mt_walk_run(&walk, (size == 1 ? byte_rows : word_rows)[action], &rows);
}

/* ---- reading ---- */

typedef struct {
  int ndim;
  int64_t shape[MT_MAX_DIMS]; /* of the tensor */
  mt_part part;               /* places: owned */
} part_context;

static void part_destroy(void *context) { free((void *)(uintptr_t)((part_context *)context)->part.places); }

static int part_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const part_context *c = node->context;
  grads[0] = mt_tensor_zeros(MT_FLOAT32, c->ndim, c->shape);
  if (!grads[0]) return -1;
  walk_part(c->part.listed >= 0 ? ADD : WRITE, grads[0], &c->part, grad_output);
  return 0;
}

static bool is_whole(const mt_range *range, int64_t n) { return range->step == 1 && range->count == n; }

static bool in_one_piece(const mt_tensor *t, const mt_part *part) {
  int i = 0;
  if (part->listed >= 0) return false;
  while (i < t->ndim && part->axis[i].single) i++;
  if (i < t->ndim && part->axis[i].step == 1) i++;
  while (i < t->ndim && is_whole(&part->axis[i], t->shape[i])) i++;
  return i == t->ndim;
}

/* The part itself, without history. */
static mt_tensor *part_values(const mt_tensor *t, const mt_part *part) {
  int64_t shape[MT_MAX_DIMS], own[MT_MAX_DIMS], first = 0;
  const int ndim = mt_part_shape(t, part, shape);
  if (in_one_piece(t, part)) {
    mt_strides(t->ndim, t->shape, own);
    for (int i = 0; i < t->ndim; i++) first += part->axis[i].start * own[i];
    return mt_tensor_alias(t, first, ndim, shape);
  }
  mt_tensor *copy = mt_tensor_new(t->dtype, ndim, shape);
  if (copy) walk_part(READ, t, part, copy);
  return copy;
}

/* A copy of the list, or NULL; `missing` says that there should be one. */
static int64_t *own_places(const mt_part *part, bool *missing) {
  *missing = false;
  if (part->listed < 0) return NULL;
  const size_t bytes = (size_t)part->axis[part->listed].count * sizeof *part->places;
  int64_t *places = malloc(bytes + 1);
  if (places)
    memcpy(places, part->places, bytes);
  else
    *missing = true;
  return places;
}

static mt_tensor *read_part(mt_tensor *t, const mt_part *part, const mt_op *op) {
  bool missing;
  if (check_places(t, part) < 0) return NULL;
  mt_tensor *result = part_values(t, part);
  if (!result || !mt_needs_grad(t)) return result;
  part_context c = {.ndim = t->ndim, .part = *part};
  memcpy(c.shape, t->shape, sizeof c.shape);
  c.part.places = own_places(part, &missing);
  if (missing) {
    mt_release(result);
    return mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot record %s for backward", op->name);
  }
  return mt_recorded(result, op, 1, &t, 0, NULL, &c, sizeof c);
}

static const mt_op index_op = {.name = "index", .backward = part_backward, .destroy = part_destroy};
static const mt_op slice_op = {.name = "slice", .backward = part_backward, .destroy = part_destroy};
static const mt_op select_op = {.name = "select", .backward = part_backward, .destroy = part_destroy};
static const mt_op flip_op = {.name = "flip", .backward = part_backward, .destroy = part_destroy};

mt_tensor *mt_part_read(mt_tensor *t, const mt_part *part) { return read_part(t, part, &index_op); }

mt_tensor *mt_slice(mt_tensor *t, int axis, int64_t start, int64_t length, int64_t step) {
  mt_part part = mt_part_whole(t);
  part.axis[axis] = (mt_range){.start = start, .step = step, .count = length};
  return read_part(t, &part, &slice_op);
}

mt_tensor *mt_select(mt_tensor *t, int64_t index) {
  mt_part part = mt_part_whole(t);
  part.axis[0] = (mt_range){.start = index, .step = 1, .count = 1, .single = true};
  return read_part(t, &part, &select_op);
}

mt_tensor *mt_index_select(mt_tensor *t, int axis, const int64_t *places, int64_t n) {
  mt_part part = mt_part_whole(t);
  part.axis[axis].count = n;
  part.listed = axis;
  part.places = places;
  return read_part(t, &part, &index_op);
}

mt_tensor *mt_flip(mt_tensor *t, unsigned axes) {
  mt_part part = mt_part_whole(t);
  for (int i = 0; i < t->ndim; i++)
    if (axes >> i & 1 && t->shape[i] > 0)
      part.axis[i] = (mt_range){.start = t->shape[i] - 1, .step = -1, .count = t->shape[i]};
  return read_part(t, &part, &flip_op);
}

/* ---- writing ---- */

/* Whether the values broadcast to the shape; further axes of length 1 in front do not matter. */
static int check_values(const mt_tensor *values, int ndim, const int64_t *shape) {
  bool fits = true;
  for (int i = 1; i <= values->ndim; i++) {
    const int64_t size = values->shape[values->ndim - i];
    fits = fits && (size == 1 || (i <= ndim && size == shape[ndim - i]));
  }
  if (fits) return 0;
  char got[MT_SHAPE_TEXT], wanted[MT_SHAPE_TEXT];
  return mt_fail(MT_ERROR_ARGUMENT, "in-place write: the values have shape %s, expected one that broadcasts to %s",
                 mt_shape_text(values->ndim, values->shape, got), mt_shape_text(ndim, shape, wanted));
}

/* The values as elements of t's type in a buffer other than t's, with at most ndim axes. */
static mt_tensor *plain_values(const mt_tensor *t, mt_tensor *values, int ndim) {
  const int extra = values->ndim > ndim ? values->ndim - ndim : 0;
  mt_tensor *plain = mt_tensor_alias(values, 0, values->ndim - extra, values->shape + extra);
  mt_tensor *typed = plain ? mt_cast(plain, t->dtype) : NULL;
  mt_release(plain);
  if (!typed || typed->storage != t->storage) return typed;
  mt_tensor *apart = mt_tensor_copy(typed);
  mt_release(typed);
  return apart;
}

int mt_part_write(mt_tensor *t, const mt_part *part, mt_tensor *values) {
  int64_t shape[MT_MAX_DIMS];
  const int ndim = mt_part_shape(t, part, shape);
  if (check_places(t, part) < 0 || check_values(values, ndim, shape) < 0) return -1;
  mt_tensor *plain = plain_values(t, values, ndim);
  if (!plain) return -1;
  walk_part(WRITE, t, part, plain);
  mt_touch(t);
  mt_release(plain);
  return 0;
}
