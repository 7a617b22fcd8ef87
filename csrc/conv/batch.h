/* A convolution over a whole batch, on all threads, in lots of images or strips of one; and the gradient of its
 * weights. Every output is computed by one thread in an order that does not depend on the cut, so outputs do not depend
 * on the number of threads; the weights' gradient is summed in a part for each thread. */
#ifndef MT_CONV_BATCH_H
#define MT_CONV_BATCH_H

#include "conv/packing.h"

typedef struct {
  const mt_conv *conv;
  const float *in; /* (images, in_size, in_c) */
  int64_t images, in_size[2];
  int64_t origin[2];     /* the input coordinates under the first output's first tap: < 0 in the padding */
  const float *weights;  /* prepared */
  const float *bias;     /* NULL: none */
  const float *residual; /* laid out as out, added before the ReLU; NULL: none */
  bool relu;
  float *out;
  int64_t out_pixel, out_row, out_image; /* steps in floats */
} mt_conv_batch;

/* Both return 0, or -1 when there is no memory. */
int mt_conv_batch_run(const mt_conv_batch *b);
/* grad: (images, out_h, out_w, out_c); weight_grad: kH,kW,I,O. Of b only what comes before the weights is used. */
int mt_conv_batch_weight_grad(const mt_conv_batch *b, const float *grad, float *weight_grad);

/* Copies rows [first, first + rows) and columns [left, left + columns) of an image to `scratch`, zeros where they
 * lie outside of it. */
void mt_copy_window(const float *image, const int64_t size[2], int64_t channels, int64_t first, int64_t rows,
                    int64_t left, int64_t columns, float *scratch);

/* The same of some channels of an image whose pixels are `pixel` floats apart. */
void mt_copy_window_of(const float *image, const int64_t size[2], int64_t pixel, int64_t channels, int64_t first,
                       int64_t rows, int64_t left, int64_t columns, float *scratch);

/* The first channels of so many pixels, which are to_pixel and from_pixel floats apart. */
void mt_copy_pixels(float *to, int64_t to_pixel, const float *from, int64_t from_pixel, int64_t channels,
                    int64_t pixels);

#endif
