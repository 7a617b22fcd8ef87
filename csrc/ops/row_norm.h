/* With m a row's largest logit and s = log sum_j exp(x_j - m), log softmax is (x_j - m) - s: nothing overflows, and
 * large logits lose no digits because m and s are never added. */
#ifndef MT_OPS_ROW_NORM_H
#define MT_OPS_ROW_NORM_H

#include <math.h>
#include <stdint.h>

/* What turns a row of logits into log-probabilities. */
typedef struct {
  float largest, log_sum;
} mt_row_norm;

static inline mt_row_norm mt_norm_of_row(const float *row, int64_t count) {
  float largest = row[0], sum = 0.0f;
  for (int64_t j = 1; j < count; j++)
    if (row[j] > largest) largest = row[j];
  for (int64_t j = 0; j < count; j++) sum += expf(row[j] - largest);
  return (mt_row_norm){.largest = largest, .log_sum = logf(sum)};
}

#endif
