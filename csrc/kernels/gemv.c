#include "kernels/gemv.h"

#include <string.h>

#include "kernels/math.h"

#define SUMS 4 /* side by side: they hide the additions' latency */

MT_INLINE float dot(const float *a, const float *x, int64_t n) {
  mt_vf sums[SUMS] = {{0}};
  int64_t j = 0;
  for (; j + SUMS * MT_VF <= n; j += SUMS * MT_VF)
    for (int k = 0; k < SUMS; k++) {
      mt_fetch_ahead(a + j + k * MT_VF);
      sums[k] += mt_load(a + j + k * MT_VF) * mt_load(x + j + k * MT_VF);
    }
  for (; j + MT_VF <= n; j += MT_VF) sums[0] += mt_load(a + j) * mt_load(x + j);
  if (j < n) sums[1] += mt_load_n(a + j, (int)(n - j)) * mt_load_n(x + j, (int)(n - j));
  const mt_wide sum = mt_widen((sums[0] + sums[1]) + (sums[2] + sums[3]));
  return (float)mt_lane_sum(sum.low + sum.high);
}

void MT_KERNEL(gemv_rows)(float *y, const float *a, int64_t rows, int64_t n, const float *x, bool add) {
  for (int64_t i = 0; i < rows; i++) {
    const float sum = dot(a + i * n, x, n);
    y[i] = add ? y[i] + sum : sum;
  }
}

/* Four rows at a time, so that y is read and written less often; the next four are called for. */
void MT_KERNEL(gemv_columns)(float *y, const float *a, int64_t rows, int64_t step, const float *x, int64_t width,
                             bool add) {
  int64_t i = 0;
  if (!add) memset(y, 0, (size_t)width * sizeof *y);
  for (; i + 4 <= rows; i += 4) {
    const float *row = a + i * step;
    const mt_vf x0 = mt_splat(x[i]), x1 = mt_splat(x[i + 1]), x2 = mt_splat(x[i + 2]), x3 = mt_splat(x[i + 3]);
    MT_FOR_CHANNEL_VECTORS(width, {
      for (int k = 4; k < 8; k++) mt_fetch(row + k * step + c);
      mt_vf sum = x0 * mt_load_lanes(row + c, valid, whole);
      sum += x1 * mt_load_lanes(row + step + c, valid, whole);
      sum += x2 * mt_load_lanes(row + 2 * step + c, valid, whole);
      sum += x3 * mt_load_lanes(row + 3 * step + c, valid, whole);
      mt_store_lanes(y + c, mt_load_lanes(y + c, valid, whole) + sum, valid, whole);
    });
  }
  for (; i < rows; i++) {
    const float *row = a + i * step;
    const mt_vf factor = mt_splat(x[i]);
    MT_FOR_CHANNEL_VECTORS(width, {
      const mt_vf term = factor * mt_load_lanes(row + c, valid, whole);
      mt_store_lanes(y + c, mt_load_lanes(y + c, valid, whole) + term, valid, whole);
    });
  }
}
