/* Every function walks one vector of channels at a time over all pixels: the per-channel factors stay in registers,
 * and at the widest vectors each cache line is still touched once only. */
#include "kernels/vector.h"

/* The kernels work on copies of what they are given: a store might change the original, for all the compiler knows. */

/* Constant after inlining. */
typedef enum { NO_MASK, RELU_OF_Z, RELU_OF_Y } mask_kind;

MT_INLINE void forward(const mt_norm_image *n, int64_t c, mt_vf scale, mt_vf shift, bool residual, bool relu, float *y,
                       int64_t out_row, int valid, bool whole) {
  const float *z = n->z + c, *add = n->residual + c;
  const int64_t channels = n->channels, width = n->width;
  for (int64_t row = 0; row < n->rows; row++) {
    for (int64_t x = 0; x < width; x++) {
      const int64_t at = (row * width + x) * channels;
      mt_vf a = mt_load_lanes(z + at, valid, whole) * scale + shift;
      if (residual) a += mt_load_lanes(add + at, valid, whole);
      if (relu) a = n->limit > 0 ? mt_clamp(a, (mt_vf){0}, mt_splat(n->limit)) : mt_relu(a);
      mt_store_lanes(y + c + row * out_row + x * channels, a, valid, whole);
    }
  }
}

void MT_KERNEL(norm_forward)(const mt_norm_image *image, float *y, int64_t out_row) {
  const mt_norm_image copy = *image, *n = &copy;
  MT_FOR_CHANNEL_VECTORS(n->channels, {
    const mt_vf s = mt_load_lanes(n->scale + c, valid, whole), t = mt_load_lanes(n->shift + c, valid, whole);
    if (n->residual)
      forward(n, c, s, t, true, n->relu, y, out_row, valid, whole);
    else if (n->relu)
      forward(n, c, s, t, false, true, y, out_row, valid, whole);
    else
      forward(n, c, s, t, false, false, y, out_row, valid, whole);
  });
}

/* Two passes: the image has just been written and is still in cache, and squares of distances from the image's own
 * mean lose nothing to cancellation. Four sums at a time hide the latency of the additions. */
MT_INLINE mt_vf sum_pixels(const float *z, int64_t pixels, int64_t channels, mt_vf centre, bool squares, int valid,
                           bool whole) {
  mt_vf sum[4] = {{0}, {0}, {0}, {0}};
  int64_t p = 0;
  for (; p + 4 <= pixels; p += 4) {
    for (int i = 0; i < 4; i++) {
      const mt_vf d = mt_load_lanes(z + (p + i) * channels, valid, whole) - centre;
      sum[i] += squares ? d * d : d;
    }
  }
  for (; p < pixels; p++) {
    const mt_vf d = mt_load_lanes(z + p * channels, valid, whole) - centre;
    sum[0] += squares ? d * d : d;
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

void MT_KERNEL(channel_sums)(const float *x, int64_t pixels, int64_t channels, float *sums) {
  MT_FOR_CHANNEL_VECTORS(
      channels,
      mt_store_lanes(sums + c, sum_pixels(x + c, pixels, channels, (mt_vf){0}, false, valid, whole), valid, whole));
}

void MT_KERNEL(norm_moments)(const float *z, int64_t pixels, int64_t channels, float *mean, float *squares) {
  MT_FOR_CHANNEL_VECTORS(channels, {
    const mt_vf m = sum_pixels(z + c, pixels, channels, (mt_vf){0}, false, valid, whole) * (1.0f / (float)pixels);
    mt_store_lanes(mean + c, m, valid, whole);
    mt_store_lanes(squares + c, sum_pixels(z + c, pixels, channels, m, true, valid, whole), valid, whole);
  });
}

/* g where the ReLU's output (or, but for the limit, its input) y let it through. */
MT_INLINE mt_vf through_relu(mt_vf y, mt_vf g, float limit) {
  g = mt_relu_mask(y, g);
  return limit > 0 ? (mt_vf)((mt_vi)g & ~(mt_vi)(y >= mt_splat(limit))) : g;
}

/* The gradient behind the ReLU at one vector of one pixel. */
MT_INLINE mt_vf behind_relu(const mt_norm_grad_image *n, int64_t at, mt_vf z, mt_vf scale, mt_vf shift, mask_kind mask,
                            int valid, bool whole) {
  const mt_vf g = mt_load_lanes(n->grad + at, valid, whole);
  if (mask == NO_MASK) return g;
  return through_relu(mask == RELU_OF_Y ? mt_load_lanes(n->mask + at, valid, whole) : z * scale + shift, g, n->limit);
}

MT_INLINE void grad_sums(const mt_norm_grad_image *n, int64_t c, float *sum_g, float *sum_gz, mask_kind mask, int valid,
                         bool whole) {
  const mt_vf scale = mt_load_lanes(n->scale + c, valid, whole), shift = mt_load_lanes(n->shift + c, valid, whole);
  const mt_vf mean = mt_load_lanes(n->mean + c, valid, whole);
  mt_vf g_sums[2] = {{0}, {0}}, gz_sums[2] = {{0}, {0}};
  const int64_t pixels = n->rows * n->width;
  for (int64_t p = 0; p < pixels; p++) {
    const int64_t at = p * n->channels + c;
    const mt_vf z = mt_load_lanes(n->z + at, valid, whole);
    const mt_vf g = behind_relu(n, at, z, scale, shift, mask, valid, whole);
    g_sums[p & 1] += g;
    gz_sums[p & 1] += g * (z - mean);
  }
  mt_store_lanes(sum_g + c, g_sums[0] + g_sums[1], valid, whole);
  mt_store_lanes(sum_gz + c, gz_sums[0] + gz_sums[1], valid, whole);
}

void MT_KERNEL(norm_grad_sums)(const mt_norm_grad_image *image, float *sum_g, float *sum_gz) {
  const mt_norm_grad_image copy = *image, *n = &copy;
  MT_FOR_CHANNEL_VECTORS(n->channels, {
    if (!n->relu)
      grad_sums(n, c, sum_g, sum_gz, NO_MASK, valid, whole);
    else if (n->mask)
      grad_sums(n, c, sum_g, sum_gz, RELU_OF_Y, valid, whole);
    else
      grad_sums(n, c, sum_g, sum_gz, RELU_OF_Z, valid, whole);
  });
}

MT_INLINE void grad_of_z(const mt_norm_grad_image *n, int64_t c, mt_vf slope, mt_vf offset, float *out, int64_t out_row,
                         mask_kind mask, int valid, bool whole) {
  const mt_vf scale = mt_load_lanes(n->scale + c, valid, whole), shift = mt_load_lanes(n->shift + c, valid, whole);
  const mt_vf mean = mt_load_lanes(n->mean + c, valid, whole);
  for (int64_t y = 0; y < n->rows; y++) {
    for (int64_t x = 0; x < n->width; x++) {
      const int64_t at = (y * n->width + x) * n->channels + c;
      const mt_vf z = mt_load_lanes(n->z + at, valid, whole);
      const mt_vf g = behind_relu(n, at, z, scale, shift, mask, valid, whole);
      mt_store_lanes(out + y * out_row + x * n->channels + c, g * scale + ((z - mean) * slope + offset), valid, whole);
    }
  }
}

void MT_KERNEL(norm_grad)(const mt_norm_grad_image *image, const float *slope, const float *offset, float *grad_z,
                          int64_t out_row) {
  const mt_norm_grad_image copy = *image, *n = &copy;
  MT_FOR_CHANNEL_VECTORS(n->channels, {
    const mt_vf f = mt_load_lanes(slope + c, valid, whole), k = mt_load_lanes(offset + c, valid, whole);
    if (!n->relu)
      grad_of_z(n, c, f, k, grad_z, out_row, NO_MASK, valid, whole);
    else if (n->mask)
      grad_of_z(n, c, f, k, grad_z, out_row, RELU_OF_Y, valid, whole);
    else
      grad_of_z(n, c, f, k, grad_z, out_row, RELU_OF_Z, valid, whole);
  });
}

void MT_KERNEL(relu_grad)(const float *grad, const float *y, float limit, int64_t count, bool add, float *out) {
  MT_FOR_CHANNEL_VECTORS(count, {
    mt_vf g = through_relu(mt_load_lanes(y + c, valid, whole), mt_load_lanes(grad + c, valid, whole), limit);
    if (add) g += mt_load_lanes(out + c, valid, whole);
    mt_store_lanes(out + c, g, valid, whole);
  });
}
