/* Convolution's gradients for weight and bias.
 *
 * The output's gradient is walked in blocks (some rows of an image, or some images) that stay in cache while every
 * tap of the kernel passes over them. Threads split the blocks, each with sums of its own that are added in the
 * threads' order at the end; where the weights are too large for that, they split the weights' output channels. */
#include <string.h>

#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "ops/conv2d_internal.h"

#define MIN_BLOCK_BYTES ((int64_t)32 << 10)
#define MAX_BLOCK_BYTES ((int64_t)1 << 20)
#define SPLIT_CHANNELS_FROM ((int64_t)512 << 10) /* bytes of weights */
#define PARALLEL_FROM 131072.0                   /* multiply-adds */

typedef struct {
  const mt_tensor *input, *grad_output;
  float *weight_grad; /* NULL: not wanted */
  float *bias_grad;   /* NULL: not wanted */
  const mt_conv2d_params *params;
  const int64_t *weight_shape;
  int threads;
  bool split_channels;
  bool pads;                       /* the windows leave the image: work on padded copies */
  int64_t images, strips;          /* a block is `images` whole images, or one of `strips` parts of an image */
  int64_t blocks, panels;          /* in all */
  int64_t rows, channels, columns; /* packed rows and output channels of the weights; columns under an output row */
  int64_t window, packed;          /* floats of scratch and of sums for each thread */
  float *scratch, *sums;
  double *bias_sums; /* threads x channels */
  float *block_sums; /* threads x channels */
} job;

static int64_t span(const job *j, int axis, int64_t pixels) {
  return (pixels - 1) * j->params->stride[axis] + j->weight_shape[axis];
}

static void plan_blocks(job *j) {
  const int64_t *in = j->input ? j->input->shape : (const int64_t[4]){0}, *out = j->grad_output->shape;
  const int64_t row = j->params->stride[0] * j->columns * in[3] + out[2] * out[3];
  const int64_t image_bytes = out[1] * row * (int64_t)sizeof(float);
  int64_t target = 4 * j->packed * (int64_t)sizeof(float);
  if (target < MIN_BLOCK_BYTES) target = MIN_BLOCK_BYTES;
  if (target > MAX_BLOCK_BYTES) target = MAX_BLOCK_BYTES;
  const int64_t share = (out[0] + j->threads - 1) / j->threads;
  j->images = image_bytes > 0 ? target / image_bytes : 1;
  if (j->images > share) j->images = share;
  if (j->images < 1) j->images = 1;
  j->strips = (image_bytes + target - 1) / target;
  if (j->strips < (j->threads + out[0] - 1) / out[0]) j->strips = (j->threads + out[0] - 1) / out[0];
  if (j->strips > out[1]) j->strips = out[1];
  if (j->strips > 1) j->images = 1;
  j->blocks = j->images > 1 ? (out[0] + j->images - 1) / j->images : out[0] * j->strips;
}

static void plan(job *j) {
  const int64_t *out = j->grad_output->shape;
  j->rows = j->weight_shape[0] * j->weight_shape[1] * j->weight_shape[2];
  j->channels = j->weight_shape[3];
  j->columns = span(j, 1, out[2]);
  const double work = (double)j->grad_output->count * (double)(j->rows + 1);
  j->threads = work < PARALLEL_FROM ? 1 : mt_num_threads();
  const int64_t lanes = mt_kernels->vector_floats, vectors = (j->channels + lanes - 1) / lanes;
  j->panels = (vectors + MT_CONV2D_PANEL - 1) / MT_CONV2D_PANEL;
  j->packed = mt_packed_floats(j->rows, j->channels);
  j->split_channels = j->packed * (int64_t)sizeof(float) >= SPLIT_CHANNELS_FROM && j->panels >= j->threads;
  plan_blocks(j);
  if (!j->input) return;
  const int64_t *in = j->input->shape;
  for (int axis = 0; axis < 2; axis++) {
    const int64_t padding = j->params->padding[axis];
    j->pads = j->pads || padding > 0 || span(j, axis, out[1 + axis]) > in[1 + axis];
  }
  if (j->pads) j->window = j->images * span(j, 0, (out[1] + j->strips - 1) / j->strips) * j->columns * in[3];
}

/* The images and rows of a block. */
typedef struct {
  int64_t first_image, images, first_row, rows;
} block_range;

static block_range range_of(const job *j, int64_t block) {
  const int64_t *out = j->grad_output->shape;
  if (j->images > 1) {
    const int64_t first = block * j->images, left = out[0] - first;
    return (block_range){first, left < j->images ? left : j->images, 0, out[1]};
  }
  const int64_t strip = block % j->strips, first = out[1] * strip / j->strips;
  return (block_range){block / j->strips, 1, first, out[1] * (strip + 1) / j->strips - first};
}

static void add_weight_sums(const job *j, const block_range *r, float *scratch, float *sums, int64_t first_panel,
                            int64_t last_panel) {
  const int64_t *in = j->input->shape, *out = j->grad_output->shape;
  const int64_t in_image = in[1] * in[2] * in[3], top = r->first_row * j->params->stride[0] - j->params->padding[0];
  const int64_t columns = j->pads ? j->columns : in[2], window_rows = span(j, 0, r->rows);
  const int64_t window = window_rows * columns * in[3];
  const float *first = mt_f32(j->input) + r->first_image * in_image;
  for (int64_t n = 0; j->pads && n < r->images; n++)
    mt_copy_window(first + n * in_image, in + 1, in[3], top, window_rows, -j->params->padding[1], columns,
                   scratch + n * window);
  const mt_conv2d_grad_block block = {
      .in = j->pads ? scratch : first + top * columns * in[3],
      .in_kernel_row = columns * in[3],
      .in_pixel = j->params->stride[1] * in[3],
      .in_row = j->params->stride[0] * columns * in[3],
      .in_image = j->pads ? window : in_image,
      .kernel_rows = j->weight_shape[0],
      .run = j->weight_shape[1] * in[3],
      .grad = mt_f32(j->grad_output) + (r->first_image * out[1] + r->first_row) * out[2] * out[3],
      .grad_pixel = out[3],
      .grad_row = out[2] * out[3],
      .grad_image = out[1] * out[2] * out[3],
      .sums = sums,
      .images = r->images,
      .rows = r->rows,
      .width = out[2],
      .channels = out[3],
      .first_panel = first_panel,
      .last_panel = last_panel,
  };
  mt_kernels->conv2d_grad_weight(&block);
}

static void add_bias_sums(const job *j, const block_range *r, float *block_sums, double *sums) {
  const int64_t *out = j->grad_output->shape;
  const float *g = mt_f32(j->grad_output) + (r->first_image * out[1] + r->first_row) * out[2] * out[3];
  mt_kernels->channel_sums(g, r->images * r->rows * out[2], out[3], block_sums);
  for (int64_t o = 0; o < out[3]; o++) sums[o] += block_sums[o];
}

/* Part t: its blocks with all channels, or all blocks with its channels. */
static void run_part(const job *j, int t) {
  const int64_t first_block = j->blocks * t / j->threads, last_block = j->blocks * (t + 1) / j->threads;
  const int64_t first_panel = j->split_channels ? j->panels * t / j->threads : 0;
  const int64_t last_panel = j->split_channels ? j->panels * (t + 1) / j->threads : j->panels;
  float *sums = j->sums;
  if (j->weight_grad) {
    const int64_t panel = j->rows * MT_CONV2D_PANEL * mt_kernels->vector_floats;
    const int64_t end = last_panel * panel < j->packed ? last_panel * panel : j->packed;
    if (!j->split_channels) sums += t * j->packed;
    memset(sums + first_panel * panel, 0, (size_t)(end - first_panel * panel) * sizeof(float));
  }
  if (j->bias_grad) memset(j->bias_sums + t * j->channels, 0, (size_t)j->channels * sizeof(double));
  for (int64_t b = 0; b < j->blocks; b++) {
    const bool mine = b >= first_block && b < last_block;
    const block_range range = range_of(j, b);
    if (j->weight_grad && (mine || j->split_channels))
      add_weight_sums(j, &range, j->scratch + t * j->window, sums, first_panel, last_panel);
    if (j->bias_grad && mine) add_bias_sums(j, &range, j->block_sums + t * j->channels, j->bias_sums + t * j->channels);
  }
}

static void run_parts(const void *context, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; t++) run_part(context, (int)t);
}

static void unpack_rows(const void *context, int64_t begin, int64_t end) {
  const job *j = context;
  mt_kernels->conv2d_unpack_sum(j->sums, j->split_channels ? 1 : j->threads, j->packed, j->channels, j->rows, begin,
                                end, j->weight_grad);
}

static void run(const job *j) {
  mt_parallel(j->threads, 1, run_parts, j);
  if (j->weight_grad) mt_parallel(j->rows, mt_chunk(j->rows, j->channels, 1 << 14), unpack_rows, j);
  for (int64_t o = 0; j->bias_grad && o < j->channels; o++) {
    double sum = 0;
    for (int t = 0; t < j->threads; t++) sum += j->bias_sums[t * j->channels + o];
    j->bias_grad[o] = (float)sum;
  }
}

int mt_conv2d_weight_grad(const mt_tensor *input, const mt_tensor *grad_output, const mt_conv2d_params *p,
                          const int64_t weight_shape[4], mt_tensor *grad_weight, mt_tensor *grad_bias) {
  if (grad_output->count == 0) { /* no images */
    if (grad_weight) memset(grad_weight->data, 0, (size_t)grad_weight->count * sizeof(float));
    if (grad_bias) memset(grad_bias->data, 0, (size_t)grad_bias->count * sizeof(float));
    return 0;
  }
  job j = {
      .input = grad_weight ? input : NULL,
      .grad_output = grad_output,
      .weight_grad = grad_weight ? mt_f32(grad_weight) : NULL,
      .bias_grad = grad_bias ? mt_f32(grad_bias) : NULL,
      .params = p,
      .weight_shape = weight_shape,
  };
  plan(&j);
  const int64_t copies = j.split_channels ? 1 : j.threads;
  const int64_t sums = j.weight_grad ? copies * j.packed : 0, windows = j.threads * j.window;
  const int64_t channel_floats = j.threads * j.channels;
  /* One buffer: sums (aligned for vectors), then doubles, then the rest. */
  const size_t floats = (size_t)(sums + 2 * channel_floats + channel_floats + windows);
  float *buffer = mt_alloc(floats * sizeof(float));
  if (!buffer) return -1;
  j.sums = buffer;
  j.bias_sums = (double *)(buffer + sums);
  j.block_sums = buffer + sums + 2 * channel_floats;
  j.scratch = j.block_sums + channel_floats;
  run(&j);
  mt_free(buffer);
  return 0;
}
