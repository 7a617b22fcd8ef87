#include "kernels/reduce.h"

#include "kernels/math.h"

#define SEARCHED 2048 /* elements whose largest is found before its position is looked for */

/* ---- sums ---- */

/* Eight sums side by side hide the additions' latency. */
#define ROW_SUM(name, parameters, term)                                               \
  double MT_KERNEL(name) parameters {                                                 \
    mt_wide sums[4] = {{{0}, {0}}};                                                   \
    int64_t i = 0;                                                                    \
    for (; i + 4 * MT_VF <= n; i += 4 * MT_VF)                                        \
      for (int k = 0; k < 4; k++) {                                                   \
        const int64_t at = i + k * MT_VF;                                             \
        sums[k].low += term(HALF_WIDE, at);                                           \
        sums[k].high += term(HALF_WIDE, at + MT_VF / 2);                              \
      }                                                                               \
    const mt_vd low = (sums[0].low + sums[1].low) + (sums[2].low + sums[3].low);      \
    const mt_vd high = (sums[0].high + sums[1].high) + (sums[2].high + sums[3].high); \
    double sum = mt_lane_sum(low + high);                                             \
    for (; i < n; i++) sum += term(ONE_WIDE, i);                                      \
    return sum;                                                                       \
  }

typedef float half_unaligned __attribute__((vector_size(MT_VECTOR_BYTES / 2), aligned(4), may_alias));
#define HALF_WIDE(x, i) MT_HALF_TO_DOUBLE(*(const half_unaligned *)((x) + (i)))
#define ONE_WIDE(x, i) (double)(x)[i]

#define SQUARE(wide, i) ((wide(x, i) - centre) * (wide(x, i) - centre))
#define PRODUCT(wide, i) (wide(x, i) * wide(y, i))
ROW_SUM(squares_row, (const float *x, int64_t n, double centre), SQUARE)
ROW_SUM(sum_products, (const float *x, const float *y, int64_t n), PRODUCT)

MT_INLINE mt_vf four_vectors(const float *x, int64_t step) {
  return (mt_load(x) + mt_load(x + step)) + (mt_load(x + 2 * step) + mt_load(x + 3 * step));
}

/* Four numbers are added in single precision, about as exact as the numbers themselves are: conversions are what takes
 * time. */
double MT_KERNEL(sum_row)(const float *x, int64_t n) {
  mt_wide sums[2] = {{{0}, {0}}};
  int64_t i = 0;
  for (; i + 8 * MT_VF <= n; i += 8 * MT_VF)
    for (int k = 0; k < 2; k++) sums[k] = mt_wide_sum(sums[k], mt_widen(four_vectors(x + i + 4 * k * MT_VF, MT_VF)));
  double sum = mt_lane_sum((sums[0].low + sums[1].low) + (sums[0].high + sums[1].high));
  for (; i < n; i++) sum += (double)x[i];
  return sum;
}

static inline double square(double x) { return x * x; }

/* The sums of a vector of columns stay in registers; the processor reads ahead in a few rows as well as in one. */
MT_INLINE void sum_few_rows(const float *x, int64_t n, int64_t step, double *sums) {
  mt_wide sum = {{0}, {0}};
  for (; n >= 4; n -= 4, x += 4 * step) sum = mt_wide_sum(sum, mt_widen(four_vectors(x, step)));
  for (; n > 0; n--, x += step) sum = mt_wide_sum(sum, mt_widen(mt_load(x)));
  *(mt_vdu *)sums = sum.low;
  *(mt_vdu *)(sums + MT_VF / 2) = sum.high;
}

#define FEW_ROWS 16

/* Four rows at a time, so that sums are read and written less often. */
void MT_KERNEL(sum_columns)(const float *x, int64_t n, int64_t step, int width, double *restrict sums) {
  int done = 0;
  for (; n <= FEW_ROWS && done + MT_VF <= width; done += MT_VF) sum_few_rows(x + done, n, step, sums + done);
  for (int c = done; c < width; c++) sums[c] = 0.0;
  for (; n >= 4; n -= 4, x += 4 * step) {
    int c = done;
    for (; c + MT_VF <= width; c += MT_VF) mt_add_to(sums + c, four_vectors(x + c, step));
    for (; c < width; c++) sums[c] += (double)((x[c] + x[step + c]) + (x[2 * step + c] + x[3 * step + c]));
  }
  for (; n > 0; n--, x += step)
    for (int c = done; c < width; c++) sums[c] += (double)x[c];
}

void MT_KERNEL(squares_columns)(const float *x, int64_t n, int64_t step, int width, const double *centre,
                                double *restrict sums) {
  for (int c = 0; c < width; c++) sums[c] = 0.0;
  for (; n >= 2; n -= 2, x += 2 * step)
    for (int c = 0; c < width; c++)
      sums[c] += square((double)x[c] - centre[c]) + square((double)x[step + c] - centre[c]);
  if (n > 0)
    for (int c = 0; c < width; c++) sums[c] += square((double)x[c] - centre[c]);
}

/* ---- extremes ---- */

/* The largest of sign * x, and whether any is NaN. */
MT_INLINE float largest_of(const float *x, int64_t n, float sign, bool *has_nan) {
  mt_vf best[4], factor = mt_splat(sign);
  mt_vi odd = {0};
  int64_t i = 0;
  for (int k = 0; k < 4; k++) best[k] = mt_splat(-INFINITY);
  for (; i + 4 * MT_VF <= n; i += 4 * MT_VF)
    for (int k = 0; k < 4; k++) {
      const mt_vf value = factor * mt_load(x + i + k * MT_VF);
      best[k] = mt_larger(value, best[k]);
      odd |= value != value;
    }
  float largest = mt_lane_largest(mt_larger(mt_larger(best[0], best[1]), mt_larger(best[2], best[3])));
  bool nan = mt_any(odd);
  for (; i < n; i++) {
    nan = nan || x[i] != x[i];
    if (sign * x[i] > largest) largest = sign * x[i];
  }
  *has_nan = nan;
  return largest;
}

MT_INLINE int64_t first_equal(const float *x, float value) {
  int64_t i = 0;
  while (x[i] != value) i++;
  return i;
}

MT_INLINE int64_t first_nan(const float *x) {
  int64_t i = 0;
  while (x[i] == x[i]) i++;
  return i;
}

int64_t MT_KERNEL(extreme_row)(const float *x, int64_t n, int sign) {
  float best = -INFINITY;
  int64_t block = 0;
  for (int64_t at = 0; at < n; at += SEARCHED) {
    bool has_nan;
    const float largest = largest_of(x + at, n - at < SEARCHED ? n - at : SEARCHED, (float)sign, &has_nan);
    if (has_nan) return at + first_nan(x + at);
    if (largest <= best) continue;
    best = largest;
    block = at;
  }
  return block + first_equal(x + block, (float)sign * best);
}

MT_INLINE void extreme_of_vector(const float *x, int64_t n, int64_t step, int valid, bool whole, int sign,
                                 float *values, int32_t *positions) {
  const mt_vf factor = mt_splat((float)sign);
  mt_vf best = factor * mt_load_lanes(x, valid, whole);
  mt_vi at = {0};
  for (int64_t i = 1; i < n; i++) {
    const mt_vf value = factor * mt_load_lanes(x + i * step, valid, whole);
    const mt_vi wins = (value > best) | ((value != value) & (best == best));
    best = mt_select(wins, value, best);
    at = (mt_vi)mt_select(wins, (mt_vf)mt_splat_int((int32_t)i), (mt_vf)at);
  }
  mt_store_lanes(values, factor * best, valid, whole);
  mt_store_lanes((float *)positions, (mt_vf)at, valid, whole);
}

void MT_KERNEL(extreme_columns)(const float *x, int64_t n, int64_t step, int width, int sign, float *values,
                                int32_t *positions) {
  MT_FOR_CHANNEL_VECTORS(width, extreme_of_vector(x + c, n, step, valid, whole, sign, values + c, positions + c));
}

int MT_KERNEL(all_within)(const int32_t *number, int64_t n, int32_t most) {
  int32_t outside = 0;
  for (int64_t i = 0; i < n; i++) outside |= (number[i] < 1) | (number[i] > most);
  return outside == 0;
}
