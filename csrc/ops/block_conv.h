/* A convolution over a few padded images that stay in cache, for one thread: directly (kernels/conv2d.h) or by Winograd
 * (kernels/winograd.h), whichever is faster; weights are prepared once, for all threads.
 *
 * Callers lay the padded images out: every image has in_h x in_w pixels, zero where padding or whole tiles reach beyond
 * it. Weights are kH,kW,I,O. */
#ifndef MT_OPS_BLOCK_CONV_H
#define MT_OPS_BLOCK_CONV_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
  int64_t kernel[2], stride[2];
  int64_t in_h, in_w, in_c; /* of a padded image: what the kernels, or whole tiles, reach */
  int64_t out_h, out_w, out_c;
  bool winograd;
  bool winograd_grad; /* the weights' gradient too */
  int64_t group;      /* how many images at a time give the kernels enough to do */
  int64_t tiles;      /* Winograd: of an image, */
  int64_t chunk;      /* and how many at a time */
} mt_block_conv;

/* in_size: of a padded image as it stands; in_h and in_w of the result may be larger. */
mt_block_conv mt_block_conv_plan(const int64_t kernel[2], const int64_t stride[2], const int64_t in_size[2],
                                 int64_t in_c, const int64_t out_size[2], int64_t out_c);

static inline int64_t mt_block_conv_in_count(const mt_block_conv *c) { return c->in_h * c->in_w * c->in_c; }

/* Sizes in floats: prepared weights, a thread's scratch, a thread's sums of the weights' gradient. */
int64_t mt_block_conv_weight_floats(const mt_block_conv *c);
int64_t mt_block_conv_sum_floats(const mt_block_conv *c);
int64_t mt_block_conv_scratch_floats(const mt_block_conv *c);

/* Parts of a thread's scratch begin at a vector's boundary. */
static inline int64_t mt_block_conv_rounded(int64_t floats) { return (floats + 15) / 16 * 16; }

/* Prepares weights of shape kernel, in_c, out_c; or, for the way back, of shape kernel, out_c, in_c, turned around:
 * taps in reverse, inputs and outputs exchanged. Runs on all threads. Returns -1 when there is no memory. */
int mt_block_conv_prepare(const mt_block_conv *c, const float *weight, bool back, float *prepared);

/* What one call works on. Images are in_image and out_image floats apart. */
typedef struct {
  int64_t images;
  const float *in;
  int64_t in_image;
  const float *weights;  /* prepared */
  const float *bias;     /* out_c floats, or NULL */
  const float *residual; /* added before the ReLU; NULL: none */
  int64_t residual_row, residual_image;
  bool relu;
  float *out;
  int64_t out_row, out_image;
  float *scratch;
} mt_block_conv_call;

void mt_block_conv_run(const mt_block_conv *c, const mt_block_conv_call *call);

/* Adds the gradient of the weights over some images to a thread's `sums`. `grad` is the output's, grad_row floats from
 * row to row, zero beyond its end up to mt_block_conv_grad_extent rows and columns. */
void mt_block_conv_weight_grad(const mt_block_conv *c, int64_t images, const float *in, int64_t in_image,
                               const float *grad, int64_t grad_row, int64_t grad_image, float *sums, float *scratch);
int64_t mt_block_conv_grad_extent(const mt_block_conv *c, int axis);

/* Adds the sums of `copies` threads, which lie one after the other, into the gradient kH,kW,I,O. Runs on all threads.
 */
int mt_block_conv_weight_result(const mt_block_conv *c, const float *sums, int64_t copies, float *weight_grad);

#endif
