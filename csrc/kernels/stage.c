/* Every function walks one vector of channels at a time over all pixels: the per-channel factors stay in registers,
 * and at the widest vectors each cache line is still touched once only. */
#include <string.h>

#include "kernels/vector.h"

MT_INLINE void activate(const float *z, int64_t rows, int64_t width, int64_t channels, mt_vf scale, mt_vf shift,
                        const float *residual, bool relu, float *out, int64_t out_row, int valid, bool whole) {
  for (int64_t y = 0; y < rows; y++) {
    for (int64_t x = 0; x < width; x++) {
      const int64_t at = (y * width + x) * channels;
      mt_vf a = mt_load_lanes(z + at, valid, whole) * scale + shift;
      if (residual) a += mt_load_lanes(residual + at, valid, whole);
      if (relu) a = mt_relu(a);
      mt_store_lanes(out + y * out_row + x * channels, a, valid, whole);
    }
  }
}

void MT_KERNEL(stage_activate)(const float *z, int64_t rows, int64_t width, int64_t channels, const float *scale,
                               const float *shift, const float *residual, bool relu, float *out, int64_t out_row) {
  MT_FOR_CHANNEL_VECTORS(channels, {
    const mt_vf s = mt_load_lanes(scale + c, valid, whole), t = mt_load_lanes(shift + c, valid, whole);
    if (residual)
      activate(z + c, rows, width, channels, s, t, residual + c, relu, out + c, out_row, valid, whole);
    else if (relu)
      activate(z + c, rows, width, channels, s, t, NULL, true, out + c, out_row, valid, whole);
    else
      activate(z + c, rows, width, channels, s, t, NULL, false, out + c, out_row, valid, whole);
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

void MT_KERNEL(stage_moments)(const float *z, int64_t pixels, int64_t channels, float *mean, float *squares) {
  MT_FOR_CHANNEL_VECTORS(channels, {
    const mt_vf m = sum_pixels(z + c, pixels, channels, (mt_vf){0}, false, valid, whole) * (1.0f / (float)pixels);
    mt_store_lanes(mean + c, m, valid, whole);
    mt_store_lanes(squares + c, sum_pixels(z + c, pixels, channels, m, true, valid, whole), valid, whole);
  });
}

/* The gradient behind the ReLU at one vector of one pixel. */
MT_INLINE mt_vf behind_relu(const mt_stage_backward *b, int64_t at, mt_vf z, mt_vf scale, mt_vf shift, bool relu,
                            bool masked, int valid, bool whole) {
  const mt_vf g = mt_load_lanes(b->grad + at, valid, whole);
  if (masked) return mt_relu_mask(mt_load_lanes(b->mask + at, valid, whole), g);
  return relu ? mt_relu_mask(z * scale + shift, g) : g;
}

MT_INLINE void gradient_sums(const mt_stage_backward *b, int64_t c, float *sum_g, float *sum_gz, bool relu, bool masked,
                             int valid, bool whole) {
  const mt_vf scale = mt_load_lanes(b->scale + c, valid, whole), shift = mt_load_lanes(b->shift + c, valid, whole);
  const mt_vf mean = mt_load_lanes(b->mean + c, valid, whole);
  mt_vf g_sums[2] = {{0}, {0}}, gz_sums[2] = {{0}, {0}};
  const int64_t pixels = b->rows * b->width;
  for (int64_t p = 0; p < pixels; p++) {
    const int64_t at = p * b->channels + c;
    const mt_vf z = mt_load_lanes(b->z + at, valid, whole);
    const mt_vf g = behind_relu(b, at, z, scale, shift, relu, masked, valid, whole);
    g_sums[p & 1] += g;
    gz_sums[p & 1] += g * (z - mean);
  }
  mt_store_lanes(sum_g + c, mt_load_lanes(sum_g + c, valid, whole) + (g_sums[0] + g_sums[1]), valid, whole);
  mt_store_lanes(sum_gz + c, mt_load_lanes(sum_gz + c, valid, whole) + (gz_sums[0] + gz_sums[1]), valid, whole);
}

void MT_KERNEL(stage_gradient_sums)(const mt_stage_backward *b, float *sum_g, float *sum_gz) {
  MT_FOR_CHANNEL_VECTORS(b->channels, {
    if (b->mask)
      gradient_sums(b, c, sum_g, sum_gz, true, true, valid, whole);
    else if (b->relu)
      gradient_sums(b, c, sum_g, sum_gz, true, false, valid, whole);
    else
      gradient_sums(b, c, sum_g, sum_gz, false, false, valid, whole);
  });
}

MT_INLINE void gradient(const mt_stage_backward *b, int64_t c, mt_vf z_factor, mt_vf constant, float *out,
                        int64_t out_row, bool relu, bool masked, int valid, bool whole) {
  const mt_vf scale = mt_load_lanes(b->scale + c, valid, whole), shift = mt_load_lanes(b->shift + c, valid, whole);
  for (int64_t y = 0; y < b->rows; y++) {
    for (int64_t x = 0; x < b->width; x++) {
      const int64_t at = (y * b->width + x) * b->channels + c;
      const mt_vf z = mt_load_lanes(b->z + at, valid, whole);
      const mt_vf g = behind_relu(b, at, z, scale, shift, relu, masked, valid, whole);
      mt_store_lanes(out + y * out_row + x * b->channels + c, g * scale + (z * z_factor + constant), valid, whole);
    }
  }
}

void MT_KERNEL(stage_gradient)(const mt_stage_backward *b, const float *z_factor, const float *constant, float *out,
                               int64_t out_row) {
  MT_FOR_CHANNEL_VECTORS(b->channels, {
    const mt_vf f = mt_load_lanes(z_factor + c, valid, whole), k = mt_load_lanes(constant + c, valid, whole);
    if (b->mask)
      gradient(b, c, f, k, out, out_row, true, true, valid, whole);
    else if (b->relu)
      gradient(b, c, f, k, out, out_row, true, false, valid, whole);
    else
      gradient(b, c, f, k, out, out_row, false, false, valid, whole);
  });
}

void MT_KERNEL(stage_masked)(const float *grad, const float *mask, int64_t count, bool add, float *out) {
  MT_FOR_CHANNEL_VECTORS(count, {
    mt_vf g = mt_relu_mask(mt_load_lanes(mask + c, valid, whole), mt_load_lanes(grad + c, valid, whole));
    if (add) g += mt_load_lanes(out + c, valid, whole);
    mt_store_lanes(out + c, g, valid, whole);
  });
}

MT_INLINE mt_vf choose(mt_vi condition, mt_vf a, mt_vf b) {
  return (mt_vf)(((mt_vi)a & condition) | ((mt_vi)b & ~condition));
}

MT_INLINE mt_vf window_max(const float *in, int64_t row, int64_t channels, int64_t pool, int valid, bool whole) {
  mt_vf best = mt_load_lanes(in, valid, whole);
  for (int64_t dy = 0; dy < pool; dy++) {
    for (int64_t dx = 0; dx < pool; dx++) {
      const mt_vf v = mt_load_lanes(in + dy * row + dx * channels, valid, whole);
      best = choose((v > best) | (v != v), v, best); /* a NaN wins, as in PyTorch */
    }
  }
  return best;
}

void MT_KERNEL(stage_pool)(const float *in, int64_t rows, int64_t width, int64_t channels, int64_t pool, float *out,
                           int64_t out_row) {
  const int64_t row = width * channels;
  for (int64_t y = 0; y + pool <= rows; y += pool) {
    for (int64_t x = 0; x + pool <= width; x += pool) {
      const float *window = in + y * row + x * channels;
      float *to = out + y / pool * out_row + x / pool * channels;
      MT_FOR_CHANNEL_VECTORS(
          channels, mt_store_lanes(to + c, window_max(window + c, row, channels, pool, valid, whole), valid, whole));
    }
  }
}

MT_INLINE void spread(mt_vf g, const float *in, float *out, int64_t row, int64_t channels, int64_t pool, int valid,
                      bool whole) {
  const mt_vf best = window_max(in, row, channels, pool, valid, whole);
  mt_vi open = (mt_vi){0} - 1; /* lanes whose maximum was not met yet */
  for (int64_t dy = 0; dy < pool; dy++) {
    for (int64_t dx = 0; dx < pool; dx++) {
      const int64_t at = dy * row + dx * channels;
      const mt_vf v = mt_load_lanes(in + at, valid, whole);
      const mt_vi hit = open & ((v == best) | (v != v));
      mt_store_lanes(out + at, (mt_vf)((mt_vi)g & hit), valid, whole);
      open &= ~hit;
    }
  }
}

void MT_KERNEL(stage_unpool)(const float *grad, const float *in, int64_t rows, int64_t width, int64_t channels,
                             int64_t pool, float *out) {
  const int64_t row = width * channels, windows = width / pool;
  if (rows % pool || width % pool) memset(out, 0, (size_t)(rows * row) * sizeof(float));
  for (int64_t y = 0; y + pool <= rows; y += pool) {
    for (int64_t x = 0; x + pool <= width; x += pool) {
      const float *g = grad + (y / pool * windows + x / pool) * channels;
      const int64_t at = y * row + x * channels;
      MT_FOR_CHANNEL_VECTORS(channels, spread(mt_load_lanes(g + c, valid, whole), in + at + c, out + at + c, row,
                                              channels, pool, valid, whole));
    }
  }
}

void MT_KERNEL(stage_copy)(const float *in, int64_t rows, int64_t count, int64_t in_row, float *out, int64_t out_row) {
  for (int64_t y = 0; y < rows; y++) memcpy(out + y * out_row, in + y * in_row, (size_t)count * sizeof(float));
}
