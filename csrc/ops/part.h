/* Parts of a tensor: for each axis one place, a range, or places from a list; read and written. Axes and places are
 * 0-based here. Any element type; float32 results are differentiable.
 *
 * A part that lies in one piece, whatever the sizes (places, then at most one range of step 1, then whole axes), shares
 * the tensor's storage; every other one is a copy. */
#ifndef MT_OPS_PART_H
#define MT_OPS_PART_H

#include "core/tensor.h"

typedef struct {
  int64_t start, step, count; /* places start, start + step, ...; step may be negative */
  bool single;                /* the result has no such axis */
} mt_range;

typedef struct {
  mt_range axis[MT_MAX_DIMS]; /* within the tensor's shape */
  int listed;                 /* the axis that the list chooses from (its range's count is the list's length), or -1 */
  const int64_t *places;      /* in any order, also several times; checked */
} mt_part;

mt_part mt_part_whole(const mt_tensor *t);
/* The number of axes; their lengths in shape. */
int mt_part_shape(const mt_tensor *t, const mt_part *part, int64_t shape[MT_MAX_DIMS]);

mt_tensor *mt_part_read(mt_tensor *t, const mt_part *part);
/* In place. The values are converted to t's type and broadcast to the part; they may overlap it. Of places that are
 * listed several times the last one counts. */
int mt_part_write(mt_tensor *t, const mt_part *part, mt_tensor *values);

/* Elements start, start + step, ... (length of them) of an axis; step >= 1. */
mt_tensor *mt_slice(mt_tensor *t, int axis, int64_t start, int64_t length, int64_t step);
/* Element `index` of the first axis, which is dropped. */
mt_tensor *mt_select(mt_tensor *t, int64_t index);
/* The elements places[0..n-1] of an axis, in that order (the same one may come twice). */
mt_tensor *mt_index_select(mt_tensor *t, int axis, const int64_t *places, int64_t n);
/* The elements of a set of axes (bit i: axis i) in reverse order. */
mt_tensor *mt_flip(mt_tensor *t, unsigned axes);

#endif
