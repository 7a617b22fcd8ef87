/* Gradient of the convolution's weights: sum over pixels of (input run) x (gradient of the output), outer products.
 *
 * A tile is a stretch of the run x vectors of output channels; its sums stay in registers over all pixels of the
 * block and are added to memory once. Per pixel the gradient's vectors are loaded once and the input's values, which
 * are neighbours in memory, are broadcast. */
#include "kernels/vector.h"

#if MT_VECTOR_BYTES == 64
#define TAPS_1 28
#define TAPS_2 14
#else
#define TAPS_1 12
#define TAPS_2 6
#endif

MT_INLINE void tile(const mt_conv2d_grad_block *b, const float *in, const float *grad, float *sums, int valid,
                    const int taps, const int vectors, const bool whole) {
  mt_vf sum[TAPS_1];
#pragma GCC unroll 28
  for (int s = 0; s < taps * vectors; s++) sum[s] = *(const mt_vf *)(sums + s * MT_VF);
  for (int64_t n = 0; n < b->images; n++) {
    for (int64_t y = 0; y < b->rows; y++) {
      const float *x = in + n * b->in_image + y * b->in_row;
      const float *g = grad + n * b->grad_image + y * b->grad_row;
      for (int64_t p = b->width; p > 0; p--, x += b->in_pixel, g += b->grad_pixel) {
        mt_vf d[2];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
          d[v] = whole || v < vectors - 1 ? mt_load(g + v * MT_VF) : mt_load_n(g + v * MT_VF, valid);
#pragma GCC unroll 28
        for (int t = 0; t < taps; t++) {
          const float value = x[t];
#pragma GCC unroll 2
          for (int v = 0; v < vectors; v++) sum[t * vectors + v] += value * d[v];
        }
      }
    }
  }
#pragma GCC unroll 28
  for (int s = 0; s < taps * vectors; s++) *(mt_vf *)(sums + s * MT_VF) = sum[s];
}

typedef void tile_function(const mt_conv2d_grad_block *b, const float *in, const float *grad, float *sums, int valid);

#define TILE(taps, vectors)                                                                                           \
  static void tile_##taps##_##vectors(const mt_conv2d_grad_block *b, const float *in, const float *grad, float *sums, \
                                      int valid) {                                                                    \
    if (valid == MT_VF)                                                                                               \
      tile(b, in, grad, sums, valid, taps, vectors, true);                                                            \
    else                                                                                                              \
      tile(b, in, grad, sums, valid, taps, vectors, false);                                                           \
  }
#define NAME(taps, vectors) tile_##taps##_##vectors,

#define TAPS_TO_6(T, v) T(1, v) T(2, v) T(3, v) T(4, v) T(5, v) T(6, v)
#define TAPS_TO_12(T, v) TAPS_TO_6(T, v) T(7, v) T(8, v) T(9, v) T(10, v) T(11, v) T(12, v)
#define TAPS_TO_14(T, v) TAPS_TO_12(T, v) T(13, v) T(14, v)
#define TAPS_TO_28(T, v) \
  TAPS_TO_14(T, v)       \
  T(15, v)               \
  T(16, v) T(17, v) T(18, v) T(19, v) T(20, v) T(21, v) T(22, v) T(23, v) T(24, v) T(25, v) T(26, v) T(27, v) T(28, v)
#if MT_VECTOR_BYTES == 64
#define ALL_1(T) TAPS_TO_28(T, 1)
#define ALL_2(T) TAPS_TO_14(T, 2)
#else
#define ALL_1(T) TAPS_TO_12(T, 1)
#define ALL_2(T) TAPS_TO_6(T, 2)
#endif

ALL_1(TILE)
ALL_2(TILE)
static tile_function *const tiles_1[] = {ALL_1(NAME)};
static tile_function *const tiles_2[] = {ALL_2(NAME)};

/* Panel p: its first vector, how many it has, and how many channels of the last one exist. */
typedef struct {
  int64_t first, vectors;
  int valid;
} panel;

static panel panel_of(const mt_conv2d_grad_block *b, int64_t p) {
  const int64_t all = (b->channels + MT_VF - 1) / MT_VF, first = p * MT_CONV2D_PANEL;
  const int64_t vectors = all - first < MT_CONV2D_PANEL ? all - first : MT_CONV2D_PANEL;
  const int64_t left = b->channels - (first + vectors - 1) * MT_VF;
  return (panel){first, vectors, left < MT_VF ? (int)left : MT_VF};
}

/* Where the sums of a tap begin. */
static float *sums_of(const mt_conv2d_grad_block *b, const panel *p, int64_t kernel_row, int64_t tap) {
  return b->sums + (p->first * b->kernel_rows * b->run + (kernel_row * b->run + tap) * p->vectors) * MT_VF;
}

/* Some taps of one kernel row, for one panel. */
static void run_tiles(const mt_conv2d_grad_block *b, const panel *p, const float *in, const float *grad, float *sums,
                      int64_t taps) {
  tile_function *const *tiles = p->vectors == 2 ? tiles_2 : tiles_1;
  const int64_t most = p->vectors == 2 ? TAPS_2 : TAPS_1, count = (taps + most - 1) / most;
  const int64_t each = count ? taps / count : 0, longer = taps - each * count;
  for (int64_t t = 0, begin = 0, end; t < count; t++, begin = end) {
    end = begin + each + (t < longer);
    tiles[end - begin - 1](b, in + begin, grad, sums + begin * p->vectors * MT_VF, p->valid);
  }
}

static void grad_in_place(const mt_conv2d_grad_block *b) {
  for (int64_t i = b->first_panel; i < b->last_panel; i++) {
    const panel p = panel_of(b, i);
    for (int64_t kernel_row = 0; kernel_row < b->kernel_rows; kernel_row++)
      run_tiles(b, &p, b->in + kernel_row * b->in_kernel_row, b->grad + p.first * MT_VF, sums_of(b, &p, kernel_row, 0),
                b->run);
  }
}

/* ---- packed ----
 *
 * A tile reads one line of each pixel's input and gradient. Where those lie far apart, or a power of two, the nearest
 * cache keeps none of them for the next tile, and the processor does not see which comes next. There the pixels are
 * copied together, some at a time: the input for all panels, the gradient for all tiles. The sums are the same, to the
 * bit. */

#define PACKED_PIXELS 128
#define PACKED_TAPS (8 * TAPS_2 * (MT_VF == 16 ? 1 : 2)) /* whole lines and whole tiles */

/* As measured; wider vectors do more with each line. */
static bool lies_badly(const mt_conv2d_grad_block *b) {
  const bool one_row = b->kernel_rows == 1;
#if MT_VECTOR_BYTES == 64
  return one_row && b->in_pixel % 512 == 0 && b->grad_pixel < b->in_pixel;
#else
  return b->in_pixel >= 512 || (one_row && b->in_pixel % 256 == 0) || b->grad_pixel >= 1024 || b->grad_pixel % 512 == 0;
#endif
}

/* Pixels of a block in the order in which it is walked, and where the next ones begin. */
typedef struct {
  int64_t image, row, column;
  int count;
  const float *in[PACKED_PIXELS], *grad[PACKED_PIXELS];
} pixel_list;

/* false: there are no more. */
static bool next_pixels(const mt_conv2d_grad_block *b, pixel_list *l) {
  l->count = 0;
  for (; l->image < b->images; l->image++, l->row = 0) {
    for (; l->row < b->rows; l->row++, l->column = 0) {
      const float *x = b->in + l->image * b->in_image + l->row * b->in_row;
      const float *g = b->grad + l->image * b->grad_image + l->row * b->grad_row;
      for (; l->column < b->width; l->column++) {
        if (l->count == PACKED_PIXELS) return true;
        l->in[l->count] = x + l->column * b->in_pixel;
        l->grad[l->count++] = g + l->column * b->grad_pixel;
      }
    }
  }
  return l->count > 0;
}

static void pack(float *to, int64_t step, const float *const *from, int64_t offset, int count, int64_t floats) {
  for (int p = 0; p < count; p++)
    MT_FOR_CHANNEL_VECTORS(
        floats, mt_store_lanes(to + p * step + c, mt_load_lanes(from[p] + offset + c, valid, whole), valid, whole));
}

static void grad_packed(const mt_conv2d_grad_block *b, const pixel_list *l) {
  _Alignas(64) float in[PACKED_PIXELS * PACKED_TAPS], grad[PACKED_PIXELS * MT_CONV2D_PANEL * MT_VF];
  mt_conv2d_grad_block part = {.in_pixel = PACKED_TAPS, .images = 1, .rows = 1, .width = l->count};
  for (int64_t kernel_row = 0; kernel_row < b->kernel_rows; kernel_row++) {
    for (int64_t tap = 0; tap < b->run; tap += PACKED_TAPS) {
      const int64_t taps = b->run - tap < PACKED_TAPS ? b->run - tap : PACKED_TAPS;
      pack(in, PACKED_TAPS, l->in, kernel_row * b->in_kernel_row + tap, l->count, taps);
      for (int64_t i = b->first_panel; i < b->last_panel; i++) {
        const panel p = panel_of(b, i);
        part.grad_pixel = p.vectors * MT_VF;
        pack(grad, part.grad_pixel, l->grad, p.first * MT_VF, l->count, (p.vectors - 1) * MT_VF + p.valid);
        run_tiles(&part, &p, in, grad, sums_of(b, &p, kernel_row, tap), taps);
      }
    }
  }
}

void MT_KERNEL(conv2d_grad_weight)(const mt_conv2d_grad_block *b) {
  if (!lies_badly(b)) {
    grad_in_place(b);
    return;
  }
  pixel_list pixels = {.count = 0};
  while (next_pixels(b, &pixels)) grad_packed(b, &pixels);
}
