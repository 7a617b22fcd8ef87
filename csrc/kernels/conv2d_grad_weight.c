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

static void panel(const mt_conv2d_grad_block *b, int64_t first_vector, int64_t vectors) {
  tile_function *const *tiles = vectors == 2 ? tiles_2 : tiles_1;
  const int64_t most = vectors == 2 ? TAPS_2 : TAPS_1, count = (b->run + most - 1) / most;
  const int64_t taps = count ? b->run / count : 0, longer = b->run - taps * count;
  const int64_t left = b->channels - (first_vector + vectors - 1) * MT_VF;
  const int valid = left < MT_VF ? (int)left : MT_VF;
  const int64_t total_rows = b->kernel_rows * b->run;
  for (int64_t kernel_row = 0; kernel_row < b->kernel_rows; kernel_row++) {
    for (int64_t t = 0, begin = 0, end; t < count; t++, begin = end) {
      end = begin + taps + (t < longer);
      tiles[end - begin - 1](
          b, b->in + kernel_row * b->in_kernel_row + begin, b->grad + first_vector * MT_VF,
          b->sums + first_vector * MT_VF * total_rows + (kernel_row * b->run + begin) * vectors * MT_VF, valid);
    }
  }
}

void MT_KERNEL(conv2d_grad_weight)(const mt_conv2d_grad_block *b) {
  const int64_t vectors = (b->channels + MT_VF - 1) / MT_VF;
  for (int64_t p = b->first_panel; p < b->last_panel; p++) {
    const int64_t first = p * MT_CONV2D_PANEL, left = vectors - first;
    panel(b, first, left < MT_CONV2D_PANEL ? left : MT_CONV2D_PANEL);
  }
}
