/* Direct convolution over images in N,H,W,C order.
 *
 * With channels last, the taps (kw, i) of one kernel row are contiguous in the image: a "run" of kW * I floats. An
 * output pixel is the sum over kernel rows of run . weights, so the inner loops know only runs: they take any kernel,
 * any stride (the step from one pixel's run to the next) and any number of channels.
 *
 * Weights are packed into panels of MT_CONV2D_PANEL vectors of output channels (the last panel may have fewer), each
 * holding its rows (kh, kw, i) one after another; channels are rounded up to whole vectors with zeros. */
#ifndef MT_KERNELS_CONV2D_H
#define MT_KERNELS_CONV2D_H

#include <stdbool.h>
#include <stdint.h>

#define MT_CONV2D_PANEL 2

/* A block of output rows of one image, for all channels. Steps are in floats. */
typedef struct {
  const float *in;       /* the run under the first output pixel, first kernel row */
  int64_t in_kernel_row; /* from one kernel row's run to the next */
  int64_t in_pixel;      /* from one output pixel's run to the next */
  int64_t in_row;        /* from one output row's first run to the next */
  int64_t kernel_rows, run;
  /* How many kernel rows of the first output row lie above the image, and of the last one below it: those see only
   * padding and are left out. row_stride: how many input rows lie between two output rows. */
  int64_t rows_above, rows_below, row_stride;
  const float *weights;  /* packed, kernel_rows * run rows */
  const float *bias;     /* channels floats, or NULL */
  const float *residual; /* added before the ReLU, its pixels out_pixel apart; NULL: none */
  int64_t residual_row;
  bool relu;
  float limit; /* of the ReLU; 0: none (kernels/norm.h) */
  float *out;
  int64_t out_pixel, out_row;
  int64_t rows, width, channels;
} mt_conv2d_block;

/* The gradient of the weights, added over the pixels of a block to `sums` (packed like weights). */
typedef struct {
  const float *in;
  int64_t in_kernel_row, in_pixel, in_row, in_image;
  int64_t kernel_rows, run;
  const float *grad; /* of the output: first pixel, first channel */
  int64_t grad_pixel, grad_row, grad_image;
  float *sums;
  int64_t images, rows, width, channels;
  int64_t first_panel, last_panel; /* the panels to compute: [first, last) */
} mt_conv2d_grad_block;

#define MT_CONV2D_KERNELS(K)                                                                                          \
  /* Rows first_row .. first_row + rows - 1 of `total_rows`: channel o of row r is weights[r * row_step + o *         \
   * channel_step]. */                                                                                                \
  K(void, conv2d_pack,                                                                                                \
    (const float *weights, int64_t rows, int64_t row_step, int64_t channels, int64_t channel_step, int64_t first_row, \
     int64_t total_rows, float *packed))                                                                              \
  /* packed -> rows x channels, contiguous, only rows [begin, end); adds `count` packed copies `copy_step` apart. */  \
  K(void, conv2d_unpack_sum,                                                                                          \
    (const float *packed, int64_t copies, int64_t copy_step, int64_t channels, int64_t total_rows, int64_t begin,     \
     int64_t end, float *weights))                                                                                    \
  K(void, conv2d_forward, (const mt_conv2d_block *block))                                                             \
  K(void, conv2d_grad_weight, (const mt_conv2d_grad_block *block))

#endif
