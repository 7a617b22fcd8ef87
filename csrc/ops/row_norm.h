/* With m a row's largest logit and s = log sum_j exp(x_j - m), log softmax is (x_j - m) - s: nothing overflows, and
 * large logits lose no digits because m and s are never added. */
#ifndef MT_OPS_ROW_NORM_H
#define MT_OPS_ROW_NORM_H

#include <math.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* What turns a row of logits into log-probabilities. */
typedef struct {
  float largest, log_sum;
} mt_row_norm;

static inline mt_row_norm mt_norm_of_row(const float *row, int64_t count) {
  const float largest = mt_kernels->largest(row, count);
  return (mt_row_norm){.largest = largest, .log_sum = (float)log(mt_kernels->exp_sum(row, count, largest))};
}

#endif
