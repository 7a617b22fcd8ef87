/* 3x3 and 5x5 convolutions with stride 1 by Winograd's minimal filtering F(4x4, 3x3) and F(2x2, 5x5) (Lavin and Gray
 * 2016): a tile of 4 x 4 outputs costs 36 multiplications a channel pair instead of 144, one of 2 x 2 36 instead of
 * 100.
 *
 *   Y = A^T [ (G g G^T) . (B^T d B) ] A,   d: the 6 x 6 inputs under a tile, g: the kernel, . : element by element
 *
 * Summed over input channels, the product in the middle is 36 matrix products, (tiles x I) by (I x O), one for each
 * element's place. The interpolation points are 0, +-1/sqrt 2, +-sqrt 2 and infinity: with them the error stays within
 * twice that of adding up the products one by one, that of the weights' gradient of 5x5 within four times (the usual
 * 0, +-1, +-2 lose a digit more). Both sizes share them, and with them the inputs' transform.
 *
 * Transformed weights and sums: 36 matrices one after the other, each in the panels of kernels/conv2d.h, I rows. */
#ifndef MT_KERNELS_WINOGRAD_H
#define MT_KERNELS_WINOGRAD_H

#include <stdbool.h>
#include <stdint.h>

#define MT_WINOGRAD_SPAN 6 /* inputs under a tile, along an axis */
#define MT_WINOGRAD_PLACES (MT_WINOGRAD_SPAN * MT_WINOGRAD_SPAN)

/* A tile's outputs along an axis, for a square kernel of so many taps along it; 1: not by Winograd. */
static inline int mt_winograd_tile(int64_t taps) { return taps == 3 ? 4 : taps == 5 ? 2 : 1; }

/* From one place's matrix of tiles x channels to the next: an odd number of cache lines, because at a power of two all
 * 36 places of a tile would meet in the same set of the first-level cache. */
static inline int64_t mt_winograd_step(int64_t tiles, int64_t channels) {
  return ((tiles * channels + 15) / 16 | 1) * 16;
}

static inline int64_t mt_winograd_scratch(int64_t chunk, int64_t in_channels, int64_t channels) {
  return MT_WINOGRAD_PLACES * (mt_winograd_step(chunk, in_channels) + mt_winograd_step(chunk, channels));
}

/* Images of `rows` x `width` outputs, covered by tiles from the top left. Steps are in floats. */
typedef struct {
  int tile;        /* outputs along an axis */
  const float *in; /* padded: the 6 x 6 pixels under every tile exist, channels contiguous */
  int64_t in_row, in_image, in_channels;
  int64_t images, rows, width, channels; /* of the output */
  int64_t chunk;                         /* tiles transformed at a time */
  float *scratch;                        /* mt_winograd_scratch floats */
  const float *weights;                  /* transformed */
  const float *bias, *residual;          /* as in mt_conv2d_block */
  int64_t residual_row, residual_image;
  bool relu;
  float limit;
  float *out;
  int64_t out_pixel, out_row, out_image;
} mt_winograd_block;

/* The gradient of the transformed weights, added to `sums`. */
typedef struct {
  int tile;
  const float *in;
  int64_t in_row, in_image, in_channels;
  int64_t images, rows, width, channels;
  int64_t chunk;
  float *scratch;
  const float *grad; /* of the output, zero beyond its last row and column up to whole tiles */
  int64_t grad_row, grad_image;
  float *sums;
} mt_winograd_grad_block;

#define MT_WINOGRAD_KERNELS(K)                                                                                      \
  /* From weights packed as kernels/conv2d.h says (rows: tap, then input channel); only panels [first, last). */    \
  K(void, winograd_weights,                                                                                         \
    (int tile, const float *packed, int64_t in_channels, int64_t channels, int64_t first_panel, int64_t last_panel, \
     float *transformed))                                                                                           \
  K(void, winograd_forward, (const mt_winograd_block *block))                                                       \
  K(void, winograd_grad_weight, (const mt_winograd_grad_block *block))                                              \
  /* Adds `copies` sums, copy_step apart, and takes them back to taps: packed as winograd_weights reads them. */    \
  K(void, winograd_grad_back,                                                                                       \
    (int tile, const float *sums, int64_t copies, int64_t copy_step, int64_t in_channels, int64_t channels,         \
     int64_t first_panel, int64_t last_panel, float *packed))

#endif
