/* Batch norm. Every kernel walks the pixels of a block for a few vectors of channels at a time, so that the
 * channels' coefficients and sums stay in registers. EACH_TILE is that walk: BODY(..., first channel, vectors, lanes)
 * with constant vectors; lanes: how many lanes of the vectors exist, fewer than all in the last tile only. */
#include "kernels/vector.h"

#define TILE 4 /* vectors of channels at a time */

#define EACH_TILE(BODY, ...)                                                                               \
  do {                                                                                                     \
    int64_t first = 0;                                                                                     \
    for (; channels - first >= TILE * MT_VF; first += TILE * MT_VF) BODY(__VA_ARGS__, first, TILE, MT_VF); \
    for (; channels - first >= MT_VF; first += MT_VF) BODY(__VA_ARGS__, first, 1, MT_VF);                  \
    if (first < channels) BODY(__VA_ARGS__, first, 1, (int)(channels - first));                            \
  } while (0)

MT_INLINE mt_vf load_lanes(const float *p, int lanes) { return lanes == MT_VF ? mt_load(p) : mt_load_n(p, lanes); }
MT_INLINE void store_lanes(float *p, mt_vf v, int lanes) {
  if (lanes == MT_VF)
    mt_store(p, v);
  else
    mt_store_n(p, v, lanes);
}

#define EACH_VECTOR _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++)

/* Partial sums for one vector of channels: they hide the latency of an addition. */
#define WAYS 4
#define EACH_WAY _Pragma("GCC unroll 4") for (int w = 0; w < ways; w++)

MT_INLINE mt_vf total(const mt_vf *sum, int v, int vectors) {
  return vectors == 1 ? (sum[0] + sum[1]) + (sum[2] + sum[3]) : sum[v];
}

/* sums of x - center, and of its squares where those are wanted */
MT_INLINE void sums_tile(const float *x, int64_t pixels, int64_t channels, const float *center, float *sums,
                         float *squares, int64_t first, const int vectors, const int lanes) {
  const int ways = vectors == 1 ? WAYS : 1;
  mt_vf sum[WAYS], square[WAYS], about[TILE];
  for (int i = 0; i < WAYS; i++) sum[i] = square[i] = (mt_vf){0};
  EACH_VECTOR about[v] = center ? load_lanes(center + first + v * MT_VF, lanes) : (mt_vf){0};
  for (int64_t p = 0; p < pixels; p += ways) {
    EACH_WAY {
      if (p + w >= pixels) break;
      EACH_VECTOR {
        const mt_vf d = load_lanes(x + first + (p + w) * channels + v * MT_VF, lanes) - about[v];
        sum[v + w] += d;
        if (squares) square[v + w] += d * d;
      }
    }
  }
  EACH_VECTOR {
    store_lanes(sums + first + v * MT_VF, total(sum, v, vectors), lanes);
    if (squares) store_lanes(squares + first + v * MT_VF, total(square, v, vectors), lanes);
  }
}

void MT_KERNEL(channel_sums)(const float *x, int64_t pixels, int64_t channels, float *sums) {
  EACH_TILE(sums_tile, x, pixels, channels, NULL, sums, NULL);
}

void MT_KERNEL(channel_moments)(const float *x, int64_t pixels, int64_t channels, float *moments) {
  const int64_t few = pixels < 16 ? pixels : 16;
  float *center = moments, *sums = center + channels, *squares = sums + channels;
  EACH_TILE(sums_tile, x, few, channels, NULL, center, NULL);
  for (int64_t c = 0; c < channels; c++) center[c] /= (float)few;
  EACH_TILE(sums_tile, x, pixels, channels, center, sums, squares);
}

MT_INLINE void forward_tile(const mt_norm_channels *c, const float *z, const float *residual, int64_t pixels,
                            int64_t channels, float *y, const bool relu, int64_t first, const int vectors,
                            const int lanes) {
  mt_vf scale[TILE], shift[TILE];
  EACH_VECTOR {
    scale[v] = load_lanes(c->scale + first + v * MT_VF, lanes);
    shift[v] = load_lanes(c->shift + first + v * MT_VF, lanes);
  }
  for (int64_t p = 0, at = first; p < pixels; p++, at += channels) {
    EACH_VECTOR {
      mt_vf value = load_lanes(z + at + v * MT_VF, lanes) * scale[v] + shift[v];
      if (residual) value += load_lanes(residual + at + v * MT_VF, lanes);
      store_lanes(y + at + v * MT_VF, relu ? mt_relu(value) : value, lanes);
    }
  }
}

void MT_KERNEL(norm_forward)(const mt_norm_channels *c, const float *z, const float *residual, int64_t pixels,
                             int64_t channels, float *y) {
  if (residual && c->relu)
    EACH_TILE(forward_tile, c, z, residual, pixels, channels, y, true);
  else if (residual)
    EACH_TILE(forward_tile, c, z, residual, pixels, channels, y, false);
  else if (c->relu)
    EACH_TILE(forward_tile, c, z, NULL, pixels, channels, y, true);
  else
    EACH_TILE(forward_tile, c, z, NULL, pixels, channels, y, false);
}

/* Where the ReLU's mask comes from. */
enum { MASK_NONE, MASK_Y, MASK_Z };

static int mask_source(const mt_norm_channels *c, const float *y) { return !c->relu ? MASK_NONE : y ? MASK_Y : MASK_Z; }

MT_INLINE mt_vf masked(mt_vf g, mt_vf z, const float *y, mt_vf scale, mt_vf shift, int lanes, const int mask) {
  if (mask == MASK_NONE) return g;
  return mt_relu_mask(mask == MASK_Y ? load_lanes(y, lanes) : z * scale + shift, g);
}

MT_INLINE void backward_sums_tile(const mt_norm_channels *c, const float *z, const float *y, const float *grad_y,
                                  int64_t pixels, int64_t channels, float *sum_g, float *sum_gz, const int mask,
                                  int64_t first, const int vectors, const int lanes) {
  const int ways = vectors == 1 ? WAYS : 1;
  mt_vf scale[TILE], shift[TILE], mean[TILE], sum[WAYS], product[WAYS];
  for (int i = 0; i < WAYS; i++) sum[i] = product[i] = (mt_vf){0};
  EACH_VECTOR {
    scale[v] = load_lanes(c->scale + first + v * MT_VF, lanes);
    shift[v] = load_lanes(c->shift + first + v * MT_VF, lanes);
    mean[v] = load_lanes(c->mean + first + v * MT_VF, lanes);
  }
  for (int64_t p = 0; p < pixels; p += ways) {
    EACH_WAY {
      if (p + w >= pixels) break;
      const int64_t at = first + (p + w) * channels;
      EACH_VECTOR {
        const mt_vf value = load_lanes(z + at + v * MT_VF, lanes);
        const mt_vf g = masked(load_lanes(grad_y + at + v * MT_VF, lanes), value, y + at + v * MT_VF, scale[v],
                               shift[v], lanes, mask);
        sum[v + w] += g;
        product[v + w] += g * (value - mean[v]);
      }
    }
  }
  EACH_VECTOR {
    store_lanes(sum_g + first + v * MT_VF, total(sum, v, vectors), lanes);
    store_lanes(sum_gz + first + v * MT_VF, total(product, v, vectors), lanes);
  }
}

void MT_KERNEL(norm_backward_sums)(const mt_norm_channels *c, const float *z, const float *y, const float *grad_y,
                                   int64_t pixels, int64_t channels, float *sum_g, float *sum_gz) {
  switch (mask_source(c, y)) {
    case MASK_NONE:
      EACH_TILE(backward_sums_tile, c, z, z, grad_y, pixels, channels, sum_g, sum_gz, MASK_NONE);
      break;
    case MASK_Y:
      EACH_TILE(backward_sums_tile, c, z, y, grad_y, pixels, channels, sum_g, sum_gz, MASK_Y);
      break;
    default:
      EACH_TILE(backward_sums_tile, c, z, z, grad_y, pixels, channels, sum_g, sum_gz, MASK_Z);
  }
}

MT_INLINE void backward_tile(const mt_norm_channels *c, const float *z, const float *y, const float *grad_y,
                             int64_t pixels, int64_t channels, float *grad_z, float *grad_residual, const int mask,
                             int64_t first, const int vectors, const int lanes) {
  mt_vf scale[TILE], shift[TILE], mean[TILE], slope[TILE], offset[TILE];
  EACH_VECTOR {
    scale[v] = load_lanes(c->scale + first + v * MT_VF, lanes);
    shift[v] = load_lanes(c->shift + first + v * MT_VF, lanes);
    mean[v] = load_lanes(c->mean + first + v * MT_VF, lanes);
    slope[v] = load_lanes(c->slope + first + v * MT_VF, lanes);
    offset[v] = load_lanes(c->offset + first + v * MT_VF, lanes);
  }
  for (int64_t p = 0, at = first; p < pixels; p++, at += channels) {
    EACH_VECTOR {
      const mt_vf value = load_lanes(z + at + v * MT_VF, lanes);
      const mt_vf g = masked(load_lanes(grad_y + at + v * MT_VF, lanes), value, y + at + v * MT_VF, scale[v], shift[v],
                             lanes, mask);
      if (grad_residual) store_lanes(grad_residual + at + v * MT_VF, g, lanes);
      if (grad_z)
        store_lanes(grad_z + at + v * MT_VF, g * scale[v] + ((value - mean[v]) * slope[v] + offset[v]), lanes);
    }
  }
}

void MT_KERNEL(norm_backward)(const mt_norm_channels *c, const float *z, const float *y, const float *grad_y,
                              int64_t pixels, int64_t channels, float *grad_z, float *grad_residual) {
  switch (mask_source(c, y)) {
    case MASK_NONE:
      EACH_TILE(backward_tile, c, z, z, grad_y, pixels, channels, grad_z, grad_residual, MASK_NONE);
      break;
    case MASK_Y:
      EACH_TILE(backward_tile, c, z, y, grad_y, pixels, channels, grad_z, grad_residual, MASK_Y);
      break;
    default:
      EACH_TILE(backward_tile, c, z, z, grad_y, pixels, channels, grad_z, grad_residual, MASK_Z);
  }
}
