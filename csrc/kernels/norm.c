/* Images are walked as they lie in memory: a short run of pixels at a time, and of these one vector of channels after
 * the other, so that the per-channel factors are loaded once for a run. */
#include <string.h>

#include "kernels/vector.h"

#define RUN_FLOATS 256 /* wider images: one pixel */

/* The kernels work on copies of what they are given: a store might change the original, for all the compiler knows. */

/* Constant after inlining. */
typedef enum { NO_MASK, RELU_OF_Z, RELU_OF_Y } mask_kind;

/* Calls body(first, end, c, valid, whole) for each short run of `width` pixels, at each vector of channels. */
#define FOR_RUNS(width, channels, ...)                                         \
  do {                                                                         \
    const int64_t run = (channels) < RUN_FLOATS ? RUN_FLOATS / (channels) : 1; \
    for (int64_t first = 0, end; first < (width); first = end) {               \
      end = first + run < (width) ? first + run : (width);                     \
      MT_FOR_CHANNEL_VECTORS(channels, __VA_ARGS__);                           \
    }                                                                          \
  } while (0)

/* Pixels [first, end) of the image at one vector of channels; out: where those of its row begin. */
MT_INLINE void forward_pixels(const mt_norm_image *n, int64_t c, int64_t first, int64_t end, float *out, bool residual,
                              bool relu, int valid, bool whole) {
  const mt_vf scale = mt_load_lanes(n->scale + c, valid, whole), shift = mt_load_lanes(n->shift + c, valid, whole);
  for (int64_t at = first * n->channels + c; at < end * n->channels; at += n->channels, out += n->channels) {
    mt_fetch_ahead(n->z + at);
    mt_vf a = mt_load_lanes(n->z + at, valid, whole) * scale + shift;
    if (residual) a += mt_load_lanes(n->residual + at, valid, whole);
    if (relu) a = n->limit > 0 ? mt_clamp(a, (mt_vf){0}, mt_splat(n->limit)) : mt_relu(a);
    mt_store_lanes(out + c, a, valid, whole);
  }
}

MT_INLINE void forward(const mt_norm_image *n, float *y, int64_t out_row, bool residual, bool relu) {
  for (int64_t i = 0; i < n->rows; i++)
    FOR_RUNS(n->width, n->channels,
             forward_pixels(n, c, i * n->width + first, i * n->width + end, y + i * out_row + first * n->channels,
                            residual, relu, valid, whole));
}

void MT_KERNEL(norm_forward)(const mt_norm_image *image, float *y, int64_t out_row) {
  const mt_norm_image copy = *image, *n = &copy;
  if (n->residual)
    forward(n, y, out_row, true, n->relu);
  else if (n->relu)
    forward(n, y, out_row, false, true);
  else
    forward(n, y, out_row, false, false);
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

/* Pixels [first, end) of the image, added to the sums. */
MT_INLINE void grad_sums_of_pixels(const mt_norm_grad_image *n, int64_t c, int64_t first, int64_t end, float *sum_g,
                                   float *sum_gz, mask_kind mask, int valid, bool whole) {
  const mt_vf scale = mt_load_lanes(n->scale + c, valid, whole), shift = mt_load_lanes(n->shift + c, valid, whole);
  const mt_vf mean = mt_load_lanes(n->mean + c, valid, whole);
  mt_vf g_sum = {0}, gz_sum = {0};
  for (int64_t at = first * n->channels + c; at < end * n->channels; at += n->channels) {
    mt_fetch_ahead(n->z + at);
    mt_fetch_ahead(n->grad + at);
    const mt_vf z = mt_load_lanes(n->z + at, valid, whole);
    const mt_vf g = behind_relu(n, at, z, scale, shift, mask, valid, whole);
    g_sum += g;
    gz_sum += g * (z - mean);
  }
  mt_store_lanes(sum_g + c, mt_load_lanes(sum_g + c, valid, whole) + g_sum, valid, whole);
  mt_store_lanes(sum_gz + c, mt_load_lanes(sum_gz + c, valid, whole) + gz_sum, valid, whole);
}

MT_INLINE void grad_sums(const mt_norm_grad_image *n, float *sum_g, float *sum_gz, mask_kind mask) {
  memset(sum_g, 0, (size_t)n->channels * sizeof *sum_g);
  memset(sum_gz, 0, (size_t)n->channels * sizeof *sum_gz);
  FOR_RUNS(n->rows * n->width, n->channels, grad_sums_of_pixels(n, c, first, end, sum_g, sum_gz, mask, valid, whole));
}

void MT_KERNEL(norm_grad_sums)(const mt_norm_grad_image *image, float *sum_g, float *sum_gz) {
  const mt_norm_grad_image copy = *image, *n = &copy;
  if (!n->relu)
    grad_sums(n, sum_g, sum_gz, NO_MASK);
  else if (n->mask)
    grad_sums(n, sum_g, sum_gz, RELU_OF_Y);
  else
    grad_sums(n, sum_g, sum_gz, RELU_OF_Z);
}

/* Pixels [first, end) of the image at one vector of channels; out: where those of its row begin. */
MT_INLINE void grad_of_pixels(const mt_norm_grad_image *n, const float *slope, const float *offset, int64_t c,
                              int64_t first, int64_t end, float *out, mask_kind mask, int valid, bool whole) {
  const mt_vf scale = mt_load_lanes(n->scale + c, valid, whole), shift = mt_load_lanes(n->shift + c, valid, whole);
  const mt_vf mean = mt_load_lanes(n->mean + c, valid, whole);
  const mt_vf f = mt_load_lanes(slope + c, valid, whole), k = mt_load_lanes(offset + c, valid, whole);
  for (int64_t at = first * n->channels + c; at < end * n->channels; at += n->channels, out += n->channels) {
    mt_fetch_ahead(n->z + at);
    mt_fetch_ahead(n->grad + at);
    const mt_vf z = mt_load_lanes(n->z + at, valid, whole);
    const mt_vf g = behind_relu(n, at, z, scale, shift, mask, valid, whole);
    mt_store_lanes(out + c, g * scale + ((z - mean) * f + k), valid, whole);
  }
}

MT_INLINE void grad_of_z(const mt_norm_grad_image *n, const float *slope, const float *offset, float *out,
                         int64_t out_row, mask_kind mask) {
  for (int64_t i = 0; i < n->rows; i++)
    FOR_RUNS(n->width, n->channels,
             grad_of_pixels(n, slope, offset, c, i * n->width + first, i * n->width + end,
                            out + i * out_row + first * n->channels, mask, valid, whole));
}

void MT_KERNEL(norm_grad)(const mt_norm_grad_image *image, const float *slope, const float *offset, float *grad_z,
                          int64_t out_row) {
  const mt_norm_grad_image copy = *image, *n = &copy;
  if (!n->relu)
    grad_of_z(n, slope, offset, grad_z, out_row, NO_MASK);
  else if (n->mask)
    grad_of_z(n, slope, offset, grad_z, out_row, RELU_OF_Y);
  else
    grad_of_z(n, slope, offset, grad_z, out_row, RELU_OF_Z);
}

void MT_KERNEL(relu_grad)(const float *grad, const float *y, float limit, int64_t count, bool add, float *out) {
  MT_FOR_CHANNEL_VECTORS(count, {
    mt_vf g = through_relu(mt_load_lanes(y + c, valid, whole), mt_load_lanes(grad + c, valid, whole), limit);
    if (add) g += mt_load_lanes(out + c, valid, whole);
    mt_store_lanes(out + c, g, valid, whole);
  });
}
