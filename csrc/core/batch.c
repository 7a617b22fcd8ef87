#include "core/batch.h"

#include <math.h>
#include <string.h>

#include "core/error.h"
#include "core/memory.h"

static mt_sum_over_processes *over_processes;

mt_sum_over_processes *mt_batch_sum(void) { return over_processes; }
void mt_batch_set_sum(mt_sum_over_processes *sum) { over_processes = sum; }

/* With n, m and q of each part: N = sum n, M = sum n m / N, Q = sum (q + n m^2) - N M^2. In double that loses nothing
 * that floats had, unless a channel's mean is a hundred thousand times its deviation. */
int mt_batch_moments(int64_t *count, double *mean, double *squares, int64_t channels) {
  if (!over_processes) return 0;
  double *sums = mt_alloc((size_t)(2 * channels + 1) * sizeof *sums);
  if (!sums) return -1;
  const double own = (double)*count;
  sums[0] = own;
  for (int64_t c = 0; c < channels; c++) {
    sums[1 + c] = own * mean[c];
    sums[1 + channels + c] = squares[c] + own * mean[c] * mean[c];
  }
  const int status = over_processes(sums, 2 * channels + 1);
  for (int64_t c = 0; status == 0 && c < channels; c++) {
    mean[c] = sums[1 + c] / sums[0];
    squares[c] = fmax(0.0, sums[1 + channels + c] - sums[0] * mean[c] * mean[c]);
  }
  if (status == 0) *count = (int64_t)sums[0];
  mt_free(sums);
  return status;
}

int mt_batch_gradient_sums(int64_t *count, double *sums, int64_t n) {
  if (!over_processes) return 0;
  double *all = mt_alloc((size_t)(n + 1) * sizeof *all);
  if (!all) return -1;
  all[0] = (double)*count;
  memcpy(all + 1, sums, (size_t)n * sizeof *sums);
  const int status = over_processes(all, n + 1);
  if (status == 0) {
    *count = (int64_t)all[0];
    memcpy(sums, all + 1, (size_t)n * sizeof *sums);
  }
  mt_free(all);
  return status;
}
