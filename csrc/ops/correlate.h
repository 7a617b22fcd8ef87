/* The work shared by convolution forward and its gradient for the input: slide packed weights over images.
 *
 *   output[n, y, x, o] = bias[o] + sum over taps (ty, tx) and i of
 *                        input[n, origin_h + y * stride_h + ty, origin_w + x * stride_w + tx, i] * weights[ty, tx, i,
 * o]
 *
 * where input is zero outside the image. Work is cut into strips of output rows of one image; every output value
 * is computed by one thread in an order that does not depend on the cut, so results do not depend on the threads. */
#ifndef MT_OPS_CORRELATE_H
#define MT_OPS_CORRELATE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
  const float *input; /* (images, in_size, in_channels) */
  int64_t images, in_size[2], in_channels;
  int64_t kernel[2], stride[2], origin[2];
  const float *weights; /* packed as kernels/conv2d.h says */
  const float *bias;    /* out_channels floats, or NULL */
  bool relu;
  float *output;
  int64_t out_size[2], out_channels;
  int64_t out_image, out_row, out_pixel; /* steps in floats */
  const float *residual;                 /* laid out as output, added before the ReLU; NULL: none */
  /* (images * strips, 3, out_channels): what the kernel channel_moments says of each strip's output; NULL: not wanted.
   * Needs out_row == out_size[1] * out_pixel. */
  float *strip_moments;
} mt_correlation;

/* How an image is cut: strip s of an image has the rows [rows * s / strips, rows * (s + 1) / strips). */
int64_t mt_correlate_strips(const mt_correlation *c);

/* Returns 0, or -1 when there is no memory for scratch. */
int mt_correlate(const mt_correlation *c);

/* Floats that packed weights of this size take. */
int64_t mt_packed_floats(int64_t rows, int64_t channels);

/* Copies rows [first, first + rows) and columns [left, left + columns) of an image to `scratch`, zeros where they
 * lie outside of it. */
void mt_copy_window(const float *image, const int64_t size[2], int64_t channels, int64_t first, int64_t rows,
                    int64_t left, int64_t columns, float *scratch);

#endif
