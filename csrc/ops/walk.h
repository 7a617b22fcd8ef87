/* Walking several tensors of one shape together, some of them broadcast or permuted.
 *
 * Each operand gives a stride per axis of the common shape (0 where it is repeated). Neighbouring axes that all
 * operands step through evenly are joined, so that the usual cases become one long row; rows are cut into pieces
 * that threads share. Rows write disjoint places (or are walked in order), hence the result does not depend on the
 * threads. */
#ifndef MT_OPS_WALK_H
#define MT_OPS_WALK_H

#include "core/tensor.h"

#define MT_WALK_OPERANDS 4

typedef struct {
  int ndim, n_operands;
  bool in_order;   /* rows may write the same places: one thread takes them one after the other */
  bool whole_rows; /* only the elements of one row may: rows are not cut into pieces */
  int64_t size[MT_MAX_DIMS];
  int64_t stride[MT_WALK_OPERANDS][MT_MAX_DIMS];
} mt_walk;

/* n elements: operand i starts at element offset[i] and steps by stride[i]. */
typedef void (*mt_row)(const void *context, int64_t n, const int64_t *offset, const int64_t *stride);

mt_walk mt_walk_over(int ndim, const int64_t *shape);
void mt_walk_add_strides(mt_walk *walk, const int64_t *strides);
/* A tensor whose shape broadcasts to the walk's. The stride within a row is 1, or 0 where it repeats. */
void mt_walk_add(mt_walk *walk, const mt_tensor *t);
void mt_walk_run(mt_walk *walk, mt_row row, const void *context);

/* Row-major strides of a shape, in elements. */
void mt_strides(int ndim, const int64_t *shape, int64_t *strides);

/* Broadcasts the shape of t into `shape` (ndim axes so far; axes aligned at the end, lengths equal or one of them
 * 1). Returns the new number of axes; -1 with an error naming op. */
int mt_broadcast_shape(const char *op, int ndim, int64_t shape[MT_MAX_DIMS], const mt_tensor *t);

#endif
