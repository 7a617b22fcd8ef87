/* See walk.h. The odometer in walk_units is set once per range by division and then only counts. */
#include "ops/walk.h"

#include "core/threads.h"

#define ROW_PIECE 16384     /* elements handed to one call at most: the unit that threads share */
#define PARALLEL_FROM 32768 /* elements */

void mt_strides(int ndim, const int64_t *shape, int64_t *strides) {
  int64_t step = 1;
  for (int i = ndim - 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i];
  }
}

int mt_broadcast_shape(const char *op, int ndim, int64_t shape[MT_MAX_DIMS], const mt_tensor *t) {
  const int longer = ndim > t->ndim ? ndim : t->ndim;
  int64_t joint[MT_MAX_DIMS];
  for (int i = 1; i <= longer; i++) {
    const int64_t m = i <= ndim ? shape[ndim - i] : 1;
    const int64_t n = i <= t->ndim ? t->shape[t->ndim - i] : 1;
    if (m != n && m != 1 && n != 1) {
      char left[MT_SHAPE_TEXT], right[MT_SHAPE_TEXT];
      return mt_fail(MT_ERROR_ARGUMENT,
                     "%s: shapes %s and %s do not fit together, expected equal sizes or 1 in each axis", op,
                     mt_shape_text(ndim, shape, left), mt_shape_text(t->ndim, t->shape, right));
    }
    joint[longer - i] = m == 1 ? n : m;
  }
  for (int i = 0; i < longer; i++) shape[i] = joint[i];
  return longer;
}

mt_walk mt_walk_over(int ndim, const int64_t *shape) {
  mt_walk walk = {.ndim = ndim, .n_operands = 0};
  for (int i = 0; i < ndim; i++) walk.size[i] = shape[i];
  return walk;
}

void mt_walk_add_strides(mt_walk *walk, const int64_t *strides) {
  for (int i = 0; i < walk->ndim; i++) walk->stride[walk->n_operands][i] = strides[i];
  walk->n_operands++;
}

void mt_walk_add(mt_walk *walk, const mt_tensor *t) {
  int64_t own[MT_MAX_DIMS], strides[MT_MAX_DIMS];
  mt_strides(t->ndim, t->shape, own);
  const int missing = walk->ndim - t->ndim;
  for (int i = 0; i < walk->ndim; i++) {
    const bool repeats = i < missing || t->shape[i - missing] == 1;
    strides[i] = repeats ? 0 : own[i - missing];
  }
  mt_walk_add_strides(walk, strides);
}

/* Whether axis `outer` continues axis `inner` for every operand, so that the two are one longer axis. */
static bool joins(const mt_walk *walk, int outer, int inner) {
  for (int k = 0; k < walk->n_operands; k++)
    if (walk->stride[k][outer] != walk->stride[k][inner] * walk->size[inner]) return false;
  return true;
}

static void copy_axis(mt_walk *walk, int to, int from) {
  walk->size[to] = walk->size[from];
  for (int k = 0; k < walk->n_operands; k++) walk->stride[k][to] = walk->stride[k][from];
}

/* Drops axes of length 1 and joins neighbours; leaves at least one axis. */
static void coalesce(mt_walk *walk) {
  int kept = 0;
  for (int i = 0; i < walk->ndim; i++) {
    if (walk->size[i] == 1) continue;
    if (kept > 0 && joins(walk, kept - 1, i)) {
      const int64_t length = walk->size[kept - 1];
      copy_axis(walk, kept - 1, i);
      walk->size[kept - 1] *= length;
    } else {
      copy_axis(walk, kept++, i);
    }
  }
  if (kept == 0) {
    walk->size[0] = 1;
    for (int k = 0; k < walk->n_operands; k++) walk->stride[k][0] = 0;
    kept = 1;
  }
  walk->ndim = kept;
}

/* Units begin..end-1, each `length` elements of a row, or the rest of it. */
static void walk_units(const mt_walk *walk, int64_t begin, int64_t end, int64_t length, mt_row row,
                       const void *context) {
  const int64_t pieces = (walk->size[walk->ndim - 1] + length - 1) / length;
  const int last = walk->ndim - 1, n = walk->n_operands;
  int64_t position[MT_MAX_DIMS], start[MT_WALK_OPERANDS] = {0}, offset[MT_WALK_OPERANDS], step[MT_WALK_OPERANDS];
  for (int k = 0; k < n; k++) step[k] = walk->stride[k][last];
  int64_t rest = begin / pieces, piece = begin % pieces;
  for (int i = last - 1; i >= 0; i--) {
    position[i] = rest % walk->size[i];
    rest /= walk->size[i];
    for (int k = 0; k < n; k++) start[k] += position[i] * walk->stride[k][i];
  }
  for (int64_t unit = begin; unit < end; unit++) {
    const int64_t from = piece * length;
    const int64_t left = walk->size[last] - from;
    for (int k = 0; k < n; k++) offset[k] = start[k] + from * step[k];
    row(context, left < length ? left : length, offset, step);
    if (++piece < pieces) continue;
    piece = 0;
    for (int i = last - 1; i >= 0; i--) {
      for (int k = 0; k < n; k++) start[k] += walk->stride[k][i];
      if (++position[i] < walk->size[i]) break;
      for (int k = 0; k < n; k++) start[k] -= walk->size[i] * walk->stride[k][i];
      position[i] = 0;
    }
  }
}

typedef struct {
  const mt_walk *walk;
  int64_t length; /* of a piece */
  mt_row row;
  const void *context;
} run;

static void run_units(const void *context, int64_t begin, int64_t end) {
  const run *r = context;
  walk_units(r->walk, begin, end, r->length, r->row, r->context);
}

void mt_walk_run(mt_walk *walk, mt_row row, const void *context) {
  int64_t count = 1;
  for (int i = 0; i < walk->ndim; i++) count *= walk->size[i];
  if (count == 0) return;
  coalesce(walk);
  const int64_t row_length = walk->size[walk->ndim - 1];
  const int64_t length = walk->whole_rows || row_length < ROW_PIECE ? row_length : ROW_PIECE;
  const int64_t units = count / row_length * ((row_length + length - 1) / length);
  if (walk->in_order) {
    walk_units(walk, 0, units, length, row, context);
    return;
  }
  mt_parallel(units, mt_chunk(units, count / units, PARALLEL_FROM), run_units, &(run){walk, length, row, context});
}
