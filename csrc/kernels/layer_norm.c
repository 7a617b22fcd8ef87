#include "kernels/layer_norm.h"

#include "kernels/math.h"

void MT_KERNEL(layer_norm)(float *y, const float *x, const float *weight, const float *bias, int64_t n, float mean,
                           float rstd) {
  MT_FOR_CHANNEL_VECTORS(n, {
    mt_vf v = (mt_load_lanes(x + c, valid, whole) - mean) * rstd;
    if (weight) v = v * mt_load_lanes(weight + c, valid, whole);
    if (bias) v = v + mt_load_lanes(bias + c, valid, whole);
    mt_store_lanes(y + c, v, valid, whole);
  });
}

/* With n the normalised values and g = dy weight: dx = rstd (g - mean(g) - n mean(g n)). */
void MT_KERNEL(layer_norm_backward)(float *dx, const float *x, const float *dy, const float *weight, int64_t n,
                                    float mean, float rstd) {
  mt_wide sum = {{0}, {0}}, product = {{0}, {0}};
  MT_FOR_CHANNEL_VECTORS(n, {
    mt_vf g = mt_load_lanes(dy + c, valid, whole);
    if (weight) g = g * mt_load_lanes(weight + c, valid, whole);
    const mt_wide of_g = mt_widen(g), of_n = mt_widen((mt_load_lanes(x + c, valid, whole) - mean) * rstd);
    sum = mt_wide_sum(sum, of_g);
    product.low += of_g.low * of_n.low;
    product.high += of_g.high * of_n.high;
  });
  const float mean_g = (float)(mt_lane_sum(sum.low + sum.high) / (double)n);
  const float mean_gn = (float)(mt_lane_sum(product.low + product.high) / (double)n);
  MT_FOR_CHANNEL_VECTORS(n, {
    mt_vf g = mt_load_lanes(dy + c, valid, whole);
    if (weight) g = g * mt_load_lanes(weight + c, valid, whole);
    const mt_vf normal = (mt_load_lanes(x + c, valid, whole) - mean) * rstd;
    mt_store_lanes(dx + c, rstd * (g - mean_g - normal * mean_gn), valid, whole);
  });
}

void MT_KERNEL(layer_norm_sums)(double *restrict products, double *restrict sums, const float *x, const float *dy,
                                int rows, int64_t step, int64_t n, const float *mean, const float *rstd) {
  int64_t c = 0;
  for (; c + MT_VF <= n; c += MT_VF) {
    mt_vf product = {0}, sum = {0};
    for (int i = 0; i < rows; i++) {
      const mt_vf g = mt_load(dy + i * step + c);
      sum += g;
      product += g * ((mt_load(x + i * step + c) - mean[i]) * rstd[i]);
    }
    mt_add_to(products + c, product);
    mt_add_to(sums + c, sum);
  }
  for (; c < n; c++)
    for (int i = 0; i < rows; i++) {
      products[c] += (double)(dy[i * step + c] * ((x[i * step + c] - mean[i]) * rstd[i]));
      sums[c] += (double)dy[i * step + c];
    }
}
