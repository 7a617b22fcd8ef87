/* A convolution of a few padded images that stay in cache, for one thread: directly (kernels/conv2d.h) or by Winograd
 * (kernels/winograd.h), whichever is faster, or channel by channel (kernels/depthwise.h); weights are prepared once,
 * for all threads. Everything that convolves goes through here: whole batches (conv/batch.h), chains (conv/chain.h),
 * and both on the way back (conv/input_grad.h).
 *
 * Words of this folder, each for one thing:
 *   padded image   an image with zeros around it where padding or whole tiles reach beyond it
 *   row            of pixels; `in_row`, `out_row`, ... are the floats from one to the next
 *   lot            the images that a thread takes at a time
 *   strip          some of an image's output rows, where a whole image is too much at a time
 *   slice          some of the output channels, whole panels
 *   part           a strip or slice of one stage, where threads share an image
 *   tile           Winograd's 4 x 4 or 2 x 2 outputs
 *   panel          the output channels whose weights lie together (kernels/conv2d.h)
 *   block          what one call of a kernel works on
 *   stage          a convolution with what follows it: normalisation, ReLU, max pooling
 *   chain          stages in a row that run as one operation
 *   residual block stages whose input is added to the last one's output; always by its full name
 *   phase          the pixels of an input that meet the same taps of a strided kernel
 *   sums           of one thread, to be added to the others'
 */
#ifndef MT_CONV_CONV_H
#define MT_CONV_CONV_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
  int64_t kernel[2], stride[2];
  int64_t in_h, in_w, in_c; /* of a padded image: what the kernels, or whole tiles, reach */
  int64_t out_h, out_w, out_c;
  bool depthwise; /* every output channel sees the input channel of its own number alone */
  bool winograd;
  bool winograd_grad; /* the weights' gradient too */
  int64_t tile;       /* outputs along an axis that come together: more than one of Winograd's */
  int64_t lot;        /* how many images at a time give the kernels enough to do */
  int64_t tiles;      /* Winograd: of an image, */
  int64_t chunk;      /* and how many at a time */
} mt_conv;

/* images: in all. in_size: of a padded image as it stands; in_h and in_w of the result may be larger. */
mt_conv mt_conv_plan(int64_t images, const int64_t kernel[2], const int64_t stride[2], const int64_t in_size[2],
                     int64_t in_c, const int64_t out_size[2], int64_t out_c);

/* The same where every channel is convolved alone, channels in and out. */
mt_conv mt_conv_plan_depthwise(const int64_t kernel[2], const int64_t stride[2], const int64_t in_size[2],
                               int64_t channels, const int64_t out_size[2]);

static inline int64_t mt_conv_in_count(const mt_conv *c) { return c->in_h * c->in_w * c->in_c; }
/* Weights of one output channel. */
static inline int64_t mt_conv_taps(const mt_conv *c) {
  return c->kernel[0] * c->kernel[1] * (c->depthwise ? 1 : c->in_c);
}

/* The padding along an axis with which outputs are ceil(size / stride): in front, and how much more behind. */
void mt_conv_pad_same(int64_t size, int64_t kernel, int64_t stride, int64_t *padding, int64_t *surplus);

/* Rows of a padded image under some output rows (along axis 0), or columns under output columns. */
int64_t mt_conv_reach(const mt_conv *c, int axis, int64_t outputs);

/* Floats of a thread's scratch. Its parts begin at a vector's boundary. */
int64_t mt_conv_scratch_floats(const mt_conv *c);
static inline int64_t mt_rounded_floats(int64_t floats) { return (floats + 15) / 16 * 16; }

/* What one call works on: `rows` output rows of some images, with Winograd a multiple of the tile's or up to the last
 * one. Steps are in floats. */
typedef struct {
  int64_t images, rows;
  const float *in; /* the padded pixel under the first output */
  int64_t in_row, in_image;
  const float *weights;  /* prepared (conv/packing.h) */
  const float *bias;     /* out_c floats, or NULL */
  const float *residual; /* added before the ReLU, its pixels out_pixel apart; NULL: none */
  int64_t residual_row, residual_image;
  bool relu;
  float limit; /* of the ReLU; 0: none */
  float *out;
  int64_t out_pixel, out_row, out_image;
  float *scratch;
} mt_conv_call;

void mt_conv_run(const mt_conv *c, const mt_conv_call *call);

/* The same for the gradient of the weights, which is added to a thread's `sums` (conv/packing.h). The output's gradient
 * must be there, as zeros, beyond its end, up to mt_conv_grad_reach rows and columns. */
typedef struct {
  int64_t images, rows;
  const float *in;
  int64_t in_row, in_image;
  const float *grad;
  int64_t grad_row, grad_image;
  float *sums, *scratch;
} mt_conv_grad_call;

void mt_conv_weight_grad(const mt_conv *c, const mt_conv_grad_call *call);
int64_t mt_conv_grad_reach(const mt_conv *c, int64_t outputs);

#endif
