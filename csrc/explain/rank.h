/* The order in which the pixels of a heatmap matter. */
#ifndef MT_EXPLAIN_RANK_H
#define MT_EXPLAIN_RANK_H

#include "core/tensor.h"

typedef struct {
  float value;
  int32_t index;
} mt_ranked;

/* Fills order[0..count-1] with the values and where they stand, the highest first; of equals the first. */
void mt_rank_values(const float *values, int64_t count, mt_ranked *order);

/* heat: finite float32 {N,h,w}. Returns int32 {N,h,w}: 1 for each heatmap's highest value, and so on; of equals the
 * first in row order comes first. */
mt_tensor *mt_heat_rank(const mt_tensor *heat);

#endif
