/* Rows of a table: indices (...) int32, 1..rows, and weight (rows,D) -> (...,D). */
#ifndef MT_OPS_EMBEDDING_H
#define MT_OPS_EMBEDDING_H

#include "core/tensor.h"

/* padding: the row, 1..rows, that gets no gradient; 0: none. Errors: dtypes, shapes, an index outside of 1..rows. */
mt_tensor *mt_embedding(mt_tensor *indices, mt_tensor *weight, int64_t padding);

#endif
