/* The largest number is subtracted first, so that nothing overflows. Sums are gathered in double precision. */
#include "kernels/softmax.h"

#include "kernels/math.h"

/* ---- rows ---- */

/* The last vector of a row: -infinity beyond its end, which changes neither a maximum nor a sum of exponentials. */
MT_INLINE mt_vf load_rest(const float *x, int n) {
  float lanes[MT_VF];
  for (int i = 0; i < MT_VF; i++) lanes[i] = i < n ? x[i] : -INFINITY;
  return mt_load(lanes);
}

MT_INLINE float largest_of(const float *x, int64_t n) {
  mt_vf best = mt_splat(-INFINITY), second = best, third = best, fourth = best;
  int64_t i = 0;
  for (; i + 4 * MT_VF <= n; i += 4 * MT_VF) {
    best = mt_larger(mt_load(x + i), best);
    second = mt_larger(mt_load(x + i + MT_VF), second);
    third = mt_larger(mt_load(x + i + 2 * MT_VF), third);
    fourth = mt_larger(mt_load(x + i + 3 * MT_VF), fourth);
  }
  best = mt_larger(mt_larger(best, second), mt_larger(third, fourth));
  for (; i + MT_VF <= n; i += MT_VF) best = mt_larger(mt_load(x + i), best);
  if (i < n) best = mt_larger(load_rest(x + i, (int)(n - i)), best);
  return mt_lane_largest(best);
}

/* Sum of exp(x[i] - shift); the terms go to y, where that is not NULL. */
MT_INLINE double exponentials(float *y, const float *x, int64_t n, float shift) {
  mt_wide sum = {{0}, {0}};
  int64_t i = 0;
  for (; i + MT_VF <= n; i += MT_VF) {
    const mt_vf e = mt_exp(mt_load(x + i) - shift);
    if (y) mt_store(y + i, e);
    sum = mt_wide_sum(sum, mt_widen(e));
  }
  if (i < n) {
    const mt_vf e = mt_exp(load_rest(x + i, (int)(n - i)) - shift);
    if (y) mt_store_n(y + i, e, (int)(n - i));
    sum = mt_wide_sum(sum, mt_widen(e));
  }
  return mt_lane_sum(sum.low + sum.high);
}

float MT_KERNEL(largest)(const float *x, int64_t n) { return largest_of(x, n); }

double MT_KERNEL(exp_sum)(const float *x, int64_t n, float shift) { return exponentials(NULL, x, n, shift); }

void MT_KERNEL(exp_row)(float *y, const float *x, int64_t n, float shift, float log_sum, float scale) {
  int64_t i = 0;
  for (; i + MT_VF <= n; i += MT_VF) mt_store(y + i, mt_exp(mt_load(x + i) - shift - log_sum) * scale);
  const int rest = (int)(n - i);
  if (rest > 0) mt_store_n(y + i, mt_exp(mt_load_n(x + i, rest) - shift - log_sum) * scale, rest);
}

void MT_KERNEL(softmax)(float *y, const float *x, int64_t n) {
  const float scale = (float)(1.0 / exponentials(y, x, n, largest_of(x, n)));
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) y[i] *= scale;
}

void MT_KERNEL(log_softmax)(float *y, const float *x, int64_t n) {
  const float largest = largest_of(x, n), log_sum = (float)log(exponentials(NULL, x, n, largest));
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) y[i] = x[i] - largest - log_sum;
}

/* dx = y (dy - sum(y dy)) */
void MT_KERNEL(softmax_backward)(float *dx, const float *y, const float *dy, int64_t n) {
  const float dot = (float)MT_KERNEL(sum_products)(y, dy, n);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) dx[i] = y[i] * (dy[i] - dot);
}

/* dx = dy - exp(y) sum(dy) */
void MT_KERNEL(log_softmax_backward)(float *dx, const float *y, const float *dy, int64_t n) {
  const float sum = (float)MT_KERNEL(sum_row)(dy, n);
  int64_t i = 0;
  for (; i + MT_VF <= n; i += MT_VF) mt_store(dx + i, mt_load(dy + i) - mt_exp(mt_load(y + i)) * sum);
  const int rest = (int)(n - i);
  if (rest > 0) mt_store_n(dx + i, mt_load_n(dy + i, rest) - mt_exp(mt_load_n(y + i, rest)) * sum, rest);
}

/* ---- columns ---- */

/* e = exp(x - largest), a row of columns, also added to the sums. */
MT_INLINE void add_exponentials(float *e, const float *x, const float *largest, double *sums, int width) {
  MT_FOR_CHANNEL_VECTORS(width, {
    const mt_vf difference = mt_load_lanes(x + c, valid, whole) - mt_load_lanes(largest + c, valid, whole);
    mt_store_lanes(e + c, mt_exp_below_1(difference), valid, whole);
  });
#pragma GCC ivdep
  for (int c = 0; c < width; c++) sums[c] += (double)e[c];
}

/* The exponentials go to y, where that is not NULL. */
MT_INLINE void column_sums(float *y, const float *x, int64_t n, int64_t step, int width, float *largest, double *sums) {
  float scratch[MT_SOFTMAX_COLUMNS];
  for (int c = 0; c < width; c++) {
    largest[c] = x[c];
    sums[c] = 0.0;
  }
  for (int64_t i = 1; i < n; i++)
    for (int c = 0; c < width; c++) largest[c] = x[i * step + c] > largest[c] ? x[i * step + c] : largest[c];
  for (int64_t i = 0; i < n; i++) add_exponentials(y ? y + i * step : scratch, x + i * step, largest, sums, width);
}

void MT_KERNEL(softmax_columns)(float *y, const float *x, int64_t n, int64_t step, int width) {
  float largest[MT_SOFTMAX_COLUMNS], scale[MT_SOFTMAX_COLUMNS];
  double sums[MT_SOFTMAX_COLUMNS];
  column_sums(y, x, n, step, width, largest, sums);
  for (int c = 0; c < width; c++) scale[c] = (float)(1.0 / sums[c]);
  for (int64_t i = 0; i < n; i++)
    for (int c = 0; c < width; c++) y[i * step + c] *= scale[c];
}

void MT_KERNEL(log_softmax_columns)(float *y, const float *x, int64_t n, int64_t step, int width) {
  float largest[MT_SOFTMAX_COLUMNS], log_sum[MT_SOFTMAX_COLUMNS];
  double sums[MT_SOFTMAX_COLUMNS];
  column_sums(NULL, x, n, step, width, largest, sums);
  for (int c = 0; c < width; c++) log_sum[c] = (float)log(sums[c]);
  for (int64_t i = 0; i < n; i++)
    for (int c = 0; c < width; c++) y[i * step + c] = x[i * step + c] - largest[c] - log_sum[c];
}

void MT_KERNEL(softmax_backward_columns)(float *dx, const float *y, const float *dy, int64_t n, int64_t step,
                                         int width) {
  float dot[MT_SOFTMAX_COLUMNS];
  double sums[MT_SOFTMAX_COLUMNS] = {0};
  for (int64_t i = 0; i < n; i++)
    for (int c = 0; c < width; c++) sums[c] += (double)y[i * step + c] * (double)dy[i * step + c];
  for (int c = 0; c < width; c++) dot[c] = (float)sums[c];
  for (int64_t i = 0; i < n; i++) {
#pragma GCC ivdep
    for (int c = 0; c < width; c++) dx[i * step + c] = y[i * step + c] * (dy[i * step + c] - dot[c]);
  }
}

void MT_KERNEL(log_softmax_backward_columns)(float *dx, const float *y, const float *dy, int64_t n, int64_t step,
                                             int width) {
  float sum[MT_SOFTMAX_COLUMNS];
  double sums[MT_SOFTMAX_COLUMNS];
  MT_KERNEL(sum_columns)(dy, n, step, width, sums);
  for (int c = 0; c < width; c++) sum[c] = (float)sums[c];
  for (int64_t i = 0; i < n; i++)
    MT_FOR_CHANNEL_VECTORS(width, {
      const mt_vf e = mt_exp(mt_load_lanes(y + i * step + c, valid, whole));
      const mt_vf g = mt_load_lanes(dy + i * step + c, valid, whole);
      mt_store_lanes(dx + i * step + c, g - e * mt_load_lanes(sum + c, valid, whole), valid, whole);
    });
}
