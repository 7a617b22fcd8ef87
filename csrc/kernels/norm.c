/* Every function walks a few pixels at a time, over all their channels: memory is walked as it lies, and pixels read
 * for one vector of channels are still in the first-level cache for the next. */
#include "kernels/vector.h"

/* Constant after inlining. */
typedef enum { NO_MASK, RELU_OF_Z, RELU_OF_Y } mask_kind;

#define FEW_FLOATS 2048 /* of the pixels walked at a time */

MT_INLINE int64_t few_pixels(int64_t channels) { return FEW_FLOATS / channels > 8 ? FEW_FLOATS / channels : 8; }

/* BODY(first pixel, count) for a few pixels of a row at a time. */
#define EACH_FEW(width, channels, ...)                                 \
  do {                                                                 \
    const int64_t few = few_pixels(channels);                          \
    for (int64_t first = 0; first < (width); first += few) {           \
      const int64_t count = (width)-first < few ? (width)-first : few; \
      __VA_ARGS__;                                                     \
    }                                                                  \
  } while (0)

/* Pixels from `at` on, at one vector of channels; they go to `y`. */
MT_INLINE void forward(const mt_norm_image *n, int64_t c, int64_t at, int64_t pixels, bool residual, bool relu,
                       float *y, int valid, bool whole) {
  const mt_vf scale = mt_load_lanes(n->scale + c, valid, whole), shift = mt_load_lanes(n->shift + c, valid, whole);
  const float *z = n->z + at * n->channels + c, *add = n->residual + at * n->channels + c;
  const int64_t channels = n->channels;
  const float limit = n->limit;
  for (int64_t p = 0; p < pixels; p++) {
    mt_vf a = mt_load_lanes(z + p * channels, valid, whole) * scale + shift;
    if (residual) a += mt_load_lanes(add + p * channels, valid, whole);
    if (relu) a = limit > 0 ? mt_clamp(a, (mt_vf){0}, mt_splat(limit)) : mt_relu(a);
    mt_store_lanes(y + c + p * channels, a, valid, whole);
  }
}

static void forward_few(const mt_norm_image *n, int64_t at, int64_t pixels, float *y) {
  MT_FOR_CHANNEL_VECTORS(n->channels, {
    if (n->residual)
      forward(n, c, at, pixels, true, n->relu, y, valid, whole);
    else if (n->relu)
      forward(n, c, at, pixels, false, true, y, valid, whole);
    else
      forward(n, c, at, pixels, false, false, y, valid, whole);
  });
}

void MT_KERNEL(norm_forward)(const mt_norm_image *n, float *y, int64_t out_row) {
  for (int64_t row = 0; row < n->rows; row++)
    EACH_FEW(n->width, n->channels,
             forward_few(n, row * n->width + first, count, y + row * out_row + first * n->channels));
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

/* Sums of a few vectors of channels: of even pixels and of odd ones, which hides the latency of adding. */
#define VECTORS 8
typedef struct {
  mt_vf g[2], gz[2];
} vector_sums;

MT_INLINE void grad_sums(const mt_norm_grad_image *n, int64_t c, int64_t first, int64_t count, vector_sums *sums,
                         mask_kind mask, int valid, bool whole) {
  const mt_vf scale = mt_load_lanes(n->scale + c, valid, whole), shift = mt_load_lanes(n->shift + c, valid, whole);
  const mt_vf mean = mt_load_lanes(n->mean + c, valid, whole);
  vector_sums s = *sums;
  for (int64_t p = first; p < first + count; p++) {
    const int64_t at = p * n->channels + c;
    const mt_vf z = mt_load_lanes(n->z + at, valid, whole);
    const mt_vf g = behind_relu(n, at, z, scale, shift, mask, valid, whole);
    s.g[p & 1] += g;
    s.gz[p & 1] += g * (z - mean);
  }
  *sums = s;
}

/* Adds a few pixels at the channels [begin, end). */
static void add_few(const mt_norm_grad_image *n, int64_t begin, int64_t end, int64_t first, int64_t count,
                    vector_sums *sums) {
  MT_FOR_CHANNEL_VECTORS(end - begin, {
    const int64_t at = begin + c;
    if (!n->relu)
      grad_sums(n, at, first, count, &sums[c / MT_VF], NO_MASK, valid, whole);
    else if (n->mask)
      grad_sums(n, at, first, count, &sums[c / MT_VF], RELU_OF_Y, valid, whole);
    else
      grad_sums(n, at, first, count, &sums[c / MT_VF], RELU_OF_Z, valid, whole);
  });
}

void MT_KERNEL(norm_grad_sums)(const mt_norm_grad_image *n, float *sum_g, float *sum_gz) {
  for (int64_t begin = 0; begin < n->channels; begin += VECTORS * MT_VF) {
    const int64_t left = n->channels - begin, channels = left < VECTORS * MT_VF ? left : VECTORS * MT_VF;
    vector_sums sums[VECTORS] = {0};
    EACH_FEW(n->rows * n->width, channels, add_few(n, begin, begin + channels, first, count, sums));
    MT_FOR_CHANNEL_VECTORS(channels, {
      const vector_sums *s = &sums[c / MT_VF];
      mt_store_lanes(sum_g + begin + c, s->g[0] + s->g[1], valid, whole);
      mt_store_lanes(sum_gz + begin + c, s->gz[0] + s->gz[1], valid, whole);
    });
  }
}

MT_INLINE void grad_of_z(const mt_norm_grad_image *n, int64_t c, int64_t at, int64_t pixels, const float *slope,
                         const float *offset, float *out, mask_kind mask, int valid, bool whole) {
  const mt_vf scale = mt_load_lanes(n->scale + c, valid, whole), shift = mt_load_lanes(n->shift + c, valid, whole);
  const mt_vf mean = mt_load_lanes(n->mean + c, valid, whole);
  const mt_vf f = mt_load_lanes(slope + c, valid, whole), k = mt_load_lanes(offset + c, valid, whole);
  for (int64_t p = 0; p < pixels; p++) {
    const int64_t from = (at + p) * n->channels + c;
    const mt_vf z = mt_load_lanes(n->z + from, valid, whole);
    const mt_vf g = behind_relu(n, from, z, scale, shift, mask, valid, whole);
    mt_store_lanes(out + p * n->channels + c, g * scale + ((z - mean) * f + k), valid, whole);
  }
}

static void grad_of_few(const mt_norm_grad_image *n, int64_t at, int64_t pixels, const float *slope,
                        const float *offset, float *out) {
  MT_FOR_CHANNEL_VECTORS(n->channels, {
    if (!n->relu)
      grad_of_z(n, c, at, pixels, slope, offset, out, NO_MASK, valid, whole);
    else if (n->mask)
      grad_of_z(n, c, at, pixels, slope, offset, out, RELU_OF_Y, valid, whole);
    else
      grad_of_z(n, c, at, pixels, slope, offset, out, RELU_OF_Z, valid, whole);
  });
}

void MT_KERNEL(norm_grad)(const mt_norm_grad_image *n, const float *slope, const float *offset, float *grad_z,
                          int64_t out_row) {
  for (int64_t row = 0; row < n->rows; row++)
    EACH_FEW(
        n->width, n->channels,
        grad_of_few(n, row * n->width + first, count, slope, offset, grad_z + row * out_row + first * n->channels));
}

void MT_KERNEL(relu_grad)(const float *grad, const float *y, float limit, int64_t count, bool add, float *out) {
  MT_FOR_CHANNEL_VECTORS(count, {
    mt_vf g = through_relu(mt_load_lanes(y + c, valid, whole), mt_load_lanes(grad + c, valid, whole), limit);
    if (add) g += mt_load_lanes(out + c, valid, whole);
    mt_store_lanes(out + c, g, valid, whole);
  });
}
