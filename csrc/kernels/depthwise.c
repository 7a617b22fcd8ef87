/* Depthwise convolution: one vector of channels at a time. A tile is a few neighbouring output pixels whose sums stay
 * in registers; each input vector is loaded once for a kernel row and goes to every output it belongs to. Kernels that
 * the nets have (taps x stride along the row: TILED) are unrolled; all others take the general tile. What lies above
 * or below the image is cut off the range of kernel rows, what lies beside it is skipped column by column. */
#include "kernels/vector.h"

#define MOST 8 /* pixels in a tile: sums, a kernel row's weights and one input fit in 16 registers */

/* One row of output at one vector of channels, and the kernel rows that meet the image under it. */
typedef struct {
  const float *in, *weights; /* first kernel row: column 0, tap 0 */
  int64_t kernel_rows, in_step;
  float *out; /* pixel 0 */
  mt_vf bias;
  int valid;
} row_walk;

MT_INLINE bool is_inside(int64_t column, const mt_depthwise_block *b) {
  return (uint64_t)column < (uint64_t)b->in_size[1];
}

MT_INLINE void finish(const mt_depthwise_block *b, const row_walk *r, const mt_vf *sum, int64_t x, const int pixels,
                      const bool whole) {
  const mt_vf low = mt_splat(b->low), high = mt_splat(b->high);
#pragma GCC unroll 8
  for (int p = 0; p < pixels; p++)
    mt_store_lanes(r->out + (x + p) * b->out_pixel, mt_clamp(sum[p], low, high), r->valid, whole);
}

/* Output pixels x .. x + pixels - 1, where dilation is 1. */
MT_INLINE void tile(const mt_depthwise_block *b, const row_walk *r, int64_t x, const int pixels, const int taps,
                    const int stride) {
  mt_vf sum[MOST];
#pragma GCC unroll 8
  for (int p = 0; p < pixels; p++) {
    sum[p] = r->bias;
    __builtin_prefetch(r->out + (x + p) * b->out_pixel + b->out_row, 1, 2); /* the next row is written soon */
  }
  const int64_t column = b->origin[1] + x * stride;
  const int columns = (pixels - 1) * stride + taps;
  const bool inside = column >= 0 && column + columns <= b->in_size[1];
  const float *in = r->in + column * b->channels, *weights = r->weights;
  for (int64_t k = 0; k < r->kernel_rows; k++, in += r->in_step, weights += b->weight_row) {
    mt_vf w[5];
#pragma GCC unroll 5
    for (int t = 0; t < taps; t++) w[t] = mt_load(weights + t * b->weight_tap);
#pragma GCC unroll 20
    for (int c = 0; c < columns; c++) {
      if (!inside && !is_inside(column + c, b)) continue;
      const mt_vf value = mt_load(in + c * b->channels);
#pragma GCC unroll 8
      for (int p = 0; p < pixels; p++)
        if (c - p * stride >= 0 && c - p * stride < taps) sum[p] += value * w[c - p * stride];
    }
  }
  finish(b, r, sum, x, pixels, true);
}

/* Any kernel, any stride, any dilation, and vectors that end beyond the last channel. */
MT_INLINE void general_tile(const mt_depthwise_block *b, const row_walk *r, int64_t x, const int pixels,
                            const bool whole) {
  mt_vf sum[MOST];
#pragma GCC unroll 8
  for (int p = 0; p < pixels; p++) sum[p] = r->bias;
  for (int64_t k = 0; k < r->kernel_rows; k++) {
    for (int64_t t = 0; t < b->taps[1]; t++) {
      const mt_vf w = mt_load_lanes(r->weights + k * b->weight_row + t * b->weight_tap, r->valid, whole);
      const int64_t column = b->origin[1] + x * b->stride[1] + t * b->dilation[1];
      const float *in = r->in + k * r->in_step + column * b->channels;
#pragma GCC unroll 8
      for (int p = 0; p < pixels; p++)
        if (is_inside(column + p * b->stride[1], b))
          sum[p] += w * mt_load_lanes(in + p * b->stride[1] * b->channels, r->valid, whole);
    }
  }
  finish(b, r, sum, x, pixels, whole);
}

typedef void tile_function(const mt_depthwise_block *b, const row_walk *r, int64_t x);

#define TILE(name, pixels, ...) \
  static void name##_##pixels(const mt_depthwise_block *b, const row_walk *r, int64_t x) { __VA_ARGS__; }
#define PIXELS_TO_8(T, name, CALL) \
  T(name, 1, CALL(1))              \
  T(name, 2, CALL(2))              \
  T(name, 3, CALL(3))              \
  T(name, 4, CALL(4)) T(name, 5, CALL(5)) T(name, 6, CALL(6)) T(name, 7, CALL(7)) T(name, 8, CALL(8))
#define NAMES_TO_8(name) \
  { name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7, name##_8 }
#define TILES(name, CALL)       \
  PIXELS_TO_8(TILE, name, CALL) \
  static tile_function *const name[MOST] = NAMES_TO_8(name);

/* taps, stride. Strides of 2 go back as rows of one and two taps (3 x 3), or two and three (5 x 5). */
#define TILED(T) T(1, 1) T(2, 1) T(3, 1) T(5, 1) T(3, 2) T(5, 2)

#define CALL_1_1(pixels) tile(b, r, x, pixels, 1, 1)
#define CALL_2_1(pixels) tile(b, r, x, pixels, 2, 1)
#define CALL_3_1(pixels) tile(b, r, x, pixels, 3, 1)
#define CALL_5_1(pixels) tile(b, r, x, pixels, 5, 1)
#define CALL_3_2(pixels) tile(b, r, x, pixels, 3, 2)
#define CALL_5_2(pixels) tile(b, r, x, pixels, 5, 2)
#define CALL_WHOLE(pixels) general_tile(b, r, x, pixels, true)
#define CALL_PART(pixels) general_tile(b, r, x, pixels, false)
#define DEFINE(taps, stride) TILES(tiles_##taps##_##stride, CALL_##taps##_##stride)
TILED(DEFINE)
TILES(general_whole, CALL_WHOLE)
TILES(general_part, CALL_PART)

static tile_function *const *tiles_for(const mt_depthwise_block *b) {
#define CHOOSE(count, step) \
  if (b->taps[1] == count && b->stride[1] == step) return tiles_##count##_##step;
  if (b->dilation[1] == 1 || b->taps[1] == 1) {
    TILED(CHOOSE)
  }
  return general_whole;
}

/* The kernel rows [first, end) of output row y that lie inside the image. */
typedef struct {
  int64_t first, end;
} kernel_range;

MT_INLINE kernel_range rows_inside(int64_t top, int64_t dilation, int64_t taps, int64_t height) {
  kernel_range k = {top < 0 ? (-top + dilation - 1) / dilation : 0,
                    top >= height ? 0 : (height - top + dilation - 1) / dilation};
  if (k.end > taps) k.end = taps;
  if (k.first > k.end) k.first = k.end;
  return k;
}

/* Tile by tile, and for each tile all vectors of channels: memory is walked along the channels, as it lies. */
static void walk_row(const mt_depthwise_block *b, tile_function *const *tiles, int64_t y) {
  const int64_t top = b->origin[0] + y * b->stride[0], in_row = b->in_size[1] * b->channels;
  const kernel_range k = rows_inside(top, b->dilation[0], b->taps[0], b->in_size[0]);
  const int64_t count = (b->width + MOST - 1) / MOST, pixels = b->width / count, longer = b->width - pixels * count;
  row_walk r = {.kernel_rows = k.end - k.first, .in_step = b->dilation[0] * in_row};
  for (int64_t t = 0, begin = 0, end; t < count; t++, begin = end) {
    end = begin + pixels + (t < longer);
    MT_FOR_CHANNEL_VECTORS(b->channels, {
      r.in = b->in + (top + k.first * b->dilation[0]) * in_row + c;
      r.weights = b->weights + k.first * b->weight_row + c;
      r.out = b->out + y * b->out_row + c;
      r.bias = b->bias ? mt_load_lanes(b->bias + c, valid, whole) : (mt_vf){0};
      r.valid = valid;
      (whole ? tiles : general_part)[end - begin - 1](b, &r, begin);
    });
  }
}

void MT_KERNEL(depthwise_rows)(const mt_depthwise_block *b, int64_t first, int64_t end) {
  if (b->width < 1) return;
  tile_function *const *tiles = tiles_for(b);
  for (int64_t y = first; y < end; y++) walk_row(b, tiles, y);
}

/* ---- the weights' gradient ---- */

/* One row of the gradient at one vector of channels, and the kernel rows that meet the image under it. */
typedef struct {
  const float *in, *grad; /* column 0 of the first kernel row's input; pixel 0 */
  float *sums;            /* tap 0 of the first kernel row */
  int64_t kernel_rows, in_step;
  int valid;
} grad_walk;

MT_INLINE bool has_column(int64_t column, const mt_depthwise_grad_block *b) {
  return (uint64_t)column < (uint64_t)b->in_size[1];
}

/* Adds pixels x .. x + pixels - 1, where dilation is 1. */
MT_INLINE void grad_tile(const mt_depthwise_grad_block *b, const grad_walk *r, int64_t x, const int pixels,
                         const int taps, const int stride) {
  mt_vf g[MOST];
#pragma GCC unroll 8
  for (int p = 0; p < pixels; p++) g[p] = mt_load(r->grad + (x + p) * b->channels);
  const int64_t column = b->origin[1] + x * stride;
  const int columns = (pixels - 1) * stride + taps;
  const bool inside = column >= 0 && column + columns <= b->in_size[1];
  const float *in = r->in + column * b->channels;
  float *sums = r->sums;
  for (int64_t k = 0; k < r->kernel_rows; k++, in += r->in_step, sums += taps * b->channels) {
    mt_vf sum[5];
#pragma GCC unroll 5
    for (int t = 0; t < taps; t++) sum[t] = mt_load(sums + t * b->channels);
#pragma GCC unroll 20
    for (int c = 0; c < columns; c++) {
      if (!inside && !has_column(column + c, b)) continue;
      const mt_vf value = mt_load(in + c * b->channels);
#pragma GCC unroll 8
      for (int p = 0; p < pixels; p++)
        if (c - p * stride >= 0 && c - p * stride < taps) sum[c - p * stride] += value * g[p];
    }
#pragma GCC unroll 5
    for (int t = 0; t < taps; t++) mt_store(sums + t * b->channels, sum[t]);
  }
}

MT_INLINE void general_grad_tile(const mt_depthwise_grad_block *b, const grad_walk *r, int64_t x, int64_t pixels,
                                 const bool whole) {
  for (int64_t k = 0; k < r->kernel_rows; k++) {
    for (int64_t t = 0; t < b->taps[1]; t++) {
      float *at = r->sums + (k * b->taps[1] + t) * b->channels;
      mt_vf sum = mt_load_lanes(at, r->valid, whole);
      for (int64_t p = x; p < x + pixels; p++) {
        const int64_t column = b->origin[1] + p * b->stride[1] + t * b->dilation[1];
        if (has_column(column, b))
          sum += mt_load_lanes(r->in + k * r->in_step + column * b->channels, r->valid, whole) *
                 mt_load_lanes(r->grad + p * b->channels, r->valid, whole);
      }
      mt_store_lanes(at, sum, r->valid, whole);
    }
  }
}

typedef void grad_function(const mt_depthwise_grad_block *b, const grad_walk *r, int64_t x);

#define GRAD_TILE(name, pixels, ...) \
  static void name##_##pixels(const mt_depthwise_grad_block *b, const grad_walk *r, int64_t x) { __VA_ARGS__; }
#define GRAD_TILES(name, CALL)       \
  PIXELS_TO_8(GRAD_TILE, name, CALL) \
  static grad_function *const name[MOST] = NAMES_TO_8(name);

#define GRAD_TILED(T) T(3, 1) T(5, 1) T(3, 2) T(5, 2)

#define CALL_GRAD_3_1(pixels) grad_tile(b, r, x, pixels, 3, 1)
#define CALL_GRAD_5_1(pixels) grad_tile(b, r, x, pixels, 5, 1)
#define CALL_GRAD_3_2(pixels) grad_tile(b, r, x, pixels, 3, 2)
#define CALL_GRAD_5_2(pixels) grad_tile(b, r, x, pixels, 5, 2)
#define CALL_GRAD_WHOLE(pixels) general_grad_tile(b, r, x, pixels, true)
#define CALL_GRAD_PART(pixels) general_grad_tile(b, r, x, pixels, false)
#define DEFINE_GRAD(taps, stride) GRAD_TILES(grads_##taps##_##stride, CALL_GRAD_##taps##_##stride)
GRAD_TILED(DEFINE_GRAD)
GRAD_TILES(general_grads_whole, CALL_GRAD_WHOLE)
GRAD_TILES(general_grads_part, CALL_GRAD_PART)

static grad_function *const *grads_for(const mt_depthwise_grad_block *b) {
#define CHOOSE_GRAD(count, step) \
  if (b->taps[1] == count && b->stride[1] == step) return grads_##count##_##step;
  if (b->dilation[1] == 1) {
    GRAD_TILED(CHOOSE_GRAD)
  }
  return general_grads_whole;
}

static void walk_grad_row(const mt_depthwise_grad_block *b, grad_function *const *tiles, int64_t y) {
  const int64_t top = b->origin[0] + y * b->stride[0], in_row = b->in_size[1] * b->channels;
  const kernel_range k = rows_inside(top, b->dilation[0], b->taps[0], b->in_size[0]);
  const int64_t count = (b->width + MOST - 1) / MOST, pixels = b->width / count, longer = b->width - pixels * count;
  grad_walk r = {.kernel_rows = k.end - k.first, .in_step = b->dilation[0] * in_row};
  for (int64_t t = 0, begin = 0, end; t < count; t++, begin = end) {
    end = begin + pixels + (t < longer);
    MT_FOR_CHANNEL_VECTORS(b->channels, {
      r.in = b->in + (top + k.first * b->dilation[0]) * in_row + c;
      r.grad = b->grad + y * b->grad_row + c;
      r.sums = b->sums + k.first * b->taps[1] * b->channels + c;
      r.valid = valid;
      (whole ? tiles : general_grads_part)[end - begin - 1](b, &r, begin);
    });
  }
}

void MT_KERNEL(depthwise_grad_weight)(const mt_depthwise_grad_block *b, int64_t first, int64_t end) {
  if (b->width < 1) return;
  grad_function *const *tiles = grads_for(b);
  for (int64_t y = first; y < end; y++) walk_grad_row(b, tiles, y);
}
