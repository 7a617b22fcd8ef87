#include "conv/conv.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>

#include "conv/packing.h"
#include "core/minmax.h"
#include "kernels/kernels.h"

/* Below this many channels the transforms of Winograd's tiles cost more than the products they save. */
#define WINOGRAD_MIN_CHANNELS 8
#define WINOGRAD_FEW_TILES_MAX_BYTES ((int64_t)4 << 20)

/* From where on tiles pay. The small ones have four times as many transforms of inputs and outputs. */
typedef struct {
  int64_t pairs; /* of an input and an output channel */
  int64_t tiles; /* in all: with fewer the matrix products are too narrow, or the weights' transform is not worth it */
  /* With fewer than these, transformed weights that come from main memory, several times as many as the others, take
   * longer to read than they save. */
  int64_t few_tiles;
} winograd_limits;
static const winograd_limits large_tiles = {.pairs = 64, .tiles = 4, .few_tiles = 9};
static const winograd_limits small_tiles = {.pairs = 256, .tiles = 48, .few_tiles = 128};

/* Transformed tiles in flight: many enough for the matrix products, few enough to stay in the second-level cache. */
#define WINOGRAD_MIN_TILES 14
#define WINOGRAD_MAX_TILES 84
#define WINOGRAD_CHUNK_BYTES ((int64_t)384 << 10)
/* A thread's sums of transformed weights' gradients: more would be read and written from main memory at every chunk. */
#define WINOGRAD_MAX_SUMS_BYTES ((int64_t)12 << 20)

/* ---- the plan ---- */

static int64_t tiles_along(const mt_conv *c, int64_t pixels) { return (pixels + c->tile - 1) / c->tile; }

static bool winograd_pays(const mt_conv *c, int64_t images) {
  if (c->tile == 1 || c->kernel[0] != c->kernel[1] || c->stride[0] != 1 || c->stride[1] != 1) return false;
  if (c->in_c < WINOGRAD_MIN_CHANNELS || c->out_c < WINOGRAD_MIN_CHANNELS) return false;
  const winograd_limits *from = c->tile == 2 ? &small_tiles : &large_tiles;
  const int64_t tiles = tiles_along(c, c->out_h) * tiles_along(c, c->out_w);
  if (c->in_c * c->out_c < from->pairs || images * tiles < from->tiles) return false;
  const int64_t bytes = mt_winograd_floats(c->in_c, c->out_c) * (int64_t)sizeof(float);
  if (images * tiles < from->few_tiles && bytes > WINOGRAD_FEW_TILES_MAX_BYTES) return false;
  return tiles * c->tile * c->tile <= 2 * c->out_h * c->out_w;
}

static int64_t tiles_at_a_time(const mt_conv *c) {
  const int64_t tile_bytes = MT_WINOGRAD_PLACES * (c->in_c + c->out_c) * (int64_t)sizeof(float);
  const int64_t tiles = WINOGRAD_CHUNK_BYTES / tile_bytes / WINOGRAD_MIN_TILES * WINOGRAD_MIN_TILES;
  return mt_min64(mt_max64(tiles, 2 * WINOGRAD_MIN_TILES), WINOGRAD_MAX_TILES);
}

mt_conv mt_conv_plan(int64_t images, const int64_t kernel[2], const int64_t stride[2], const int64_t in_size[2],
                     int64_t in_c, const int64_t out_size[2], int64_t out_c) {
  mt_conv c = {.kernel = {kernel[0], kernel[1]},
               .stride = {stride[0], stride[1]},
               .in_h = in_size[0],
               .in_w = in_size[1],
               .in_c = in_c,
               .out_h = out_size[0],
               .out_w = out_size[1],
               .out_c = out_c,
               .tile = mt_winograd_tile(kernel[0]),
               .lot = 1};
  c.winograd = winograd_pays(&c, images);
  if (c.winograd) {
    const int64_t sum_bytes = mt_winograd_floats(in_c, out_c) * (int64_t)sizeof(float);
    c.tiles = tiles_along(&c, c.out_h) * tiles_along(&c, c.out_w);
    c.in_h = mt_max64(c.in_h, mt_conv_reach(&c, 0, c.out_h));
    c.in_w = mt_max64(c.in_w, mt_conv_reach(&c, 1, c.out_w));
    c.lot = (WINOGRAD_MIN_TILES + c.tiles - 1) / c.tiles;
    c.winograd_grad = sum_bytes <= WINOGRAD_MAX_SUMS_BYTES;
    c.chunk = mt_min64(tiles_at_a_time(&c), c.lot * c.tiles);
  } else {
    c.tile = 1;
  }
  return c;
}

mt_conv mt_conv_plan_depthwise(const int64_t kernel[2], const int64_t stride[2], const int64_t in_size[2],
                               int64_t channels, const int64_t out_size[2]) {
  return (mt_conv){.kernel = {kernel[0], kernel[1]},
                   .stride = {stride[0], stride[1]},
                   .in_h = in_size[0],
                   .in_w = in_size[1],
                   .in_c = channels,
                   .out_h = out_size[0],
                   .out_w = out_size[1],
                   .out_c = channels,
                   .depthwise = true,
                   .tile = 1,
                   .lot = 1};
}

void mt_conv_pad_same(int64_t size, int64_t kernel, int64_t stride, int64_t *padding, int64_t *surplus) {
  const int64_t outputs = (size + stride - 1) / stride, total = (outputs - 1) * stride + kernel - size;
  *padding = total > 0 ? total / 2 : 0;
  *surplus = total > 0 ? total % 2 : 0;
}

int64_t mt_conv_reach(const mt_conv *c, int axis, int64_t outputs) {
  if (c->winograd) return tiles_along(c, outputs) * c->tile + c->kernel[axis] - 1;
  return (outputs - 1) * c->stride[axis] + c->kernel[axis];
}

int64_t mt_conv_grad_reach(const mt_conv *c, int64_t outputs) {
  return c->winograd_grad ? tiles_along(c, outputs) * c->tile : outputs;
}

int64_t mt_conv_scratch_floats(const mt_conv *c) {
  return c->winograd ? mt_winograd_scratch(c->chunk, c->in_c, c->out_c) : 0;
}

/* ---- forward ---- */

static void run_winograd(const mt_conv *c, const mt_conv_call *call) {
  const mt_winograd_block block = {.tile = (int)c->tile,
                                   .in = call->in,
                                   .in_row = call->in_row,
                                   .in_image = call->in_image,
                                   .in_channels = c->in_c,
                                   .images = call->images,
                                   .rows = call->rows,
                                   .width = c->out_w,
                                   .channels = c->out_c,
                                   .chunk = c->chunk,
                                   .scratch = call->scratch,
                                   .weights = call->weights,
                                   .bias = call->bias,
                                   .residual = call->residual,
                                   .residual_row = call->residual_row,
                                   .residual_image = call->residual_image,
                                   .relu = call->relu,
                                   .limit = call->limit,
                                   .out = call->out,
                                   .out_pixel = call->out_pixel,
                                   .out_row = call->out_row,
                                   .out_image = call->out_image};
  mt_kernels->winograd_forward(&block);
}

static void run_direct(const mt_conv *c, const mt_conv_call *call) {
  mt_conv2d_block block = {.in_kernel_row = call->in_row,
                           .in_pixel = c->stride[1] * c->in_c,
                           .in_row = c->stride[0] * call->in_row,
                           .kernel_rows = c->kernel[0],
                           .run = c->kernel[1] * c->in_c,
                           .weights = call->weights,
                           .bias = call->bias,
                           .residual_row = call->residual_row,
                           .relu = call->relu,
                           .limit = call->limit,
                           .out_pixel = call->out_pixel,
                           .out_row = call->out_row,
                           .rows = call->rows,
                           .width = c->out_w,
                           .channels = c->out_c};
  /* Pixels that follow each other in and out, as under a 1x1 kernel, make one long row: tiles of pixels stay full. */
  const int64_t whole_row = block.out_pixel * c->out_w;
  if (block.in_row == block.in_pixel * c->out_w && block.out_row == whole_row &&
      (!call->residual || block.residual_row == whole_row)) {
    block.width *= block.rows;
    block.rows = 1;
  }
  for (int64_t n = 0; n < call->images; n++) {
    block.in = call->in + n * call->in_image;
    block.out = call->out + n * call->out_image;
    block.residual = call->residual ? call->residual + n * call->residual_image : NULL;
    mt_kernels->conv2d_forward(&block);
  }
}

/* The images are padded: no tap of any output lies outside. */
static void run_depthwise(const mt_conv *c, const mt_conv_call *call) {
  assert(!call->residual);
  mt_depthwise_block block = {.in_size = {mt_conv_reach(c, 0, call->rows), call->in_row / c->in_c},
                              .channels = c->in_c,
                              .taps = {c->kernel[0], c->kernel[1]},
                              .stride = {c->stride[0], c->stride[1]},
                              .dilation = {1, 1},
                              .weights = call->weights,
                              .weight_row = c->kernel[1] * c->in_c,
                              .weight_tap = c->in_c,
                              .bias = call->bias,
                              .low = call->relu ? 0.0f : -INFINITY,
                              .high = call->limit > 0 ? call->limit : INFINITY,
                              .width = c->out_w,
                              .out_row = call->out_row,
                              .out_pixel = call->out_pixel};
  for (int64_t n = 0; n < call->images; n++) {
    block.in = call->in + n * call->in_image;
    block.out = call->out + n * call->out_image;
    mt_kernels->depthwise_rows(&block, 0, call->rows);
  }
}

void mt_conv_run(const mt_conv *c, const mt_conv_call *call) {
  assert(call->images > 0 && call->rows > 0 && call->rows <= c->out_h);
  assert(call->out_pixel >= c->out_c);
  assert(!call->limit || call->relu);
  if (c->depthwise)
    run_depthwise(c, call);
  else if (c->winograd)
    run_winograd(c, call);
  else
    run_direct(c, call);
}

/* ---- the weights' gradient ---- */

static void grad_winograd(const mt_conv *c, const mt_conv_grad_call *call) {
  const mt_winograd_grad_block block = {.tile = (int)c->tile,
                                        .in = call->in,
                                        .in_row = call->in_row,
                                        .in_image = call->in_image,
                                        .in_channels = c->in_c,
                                        .images = call->images,
                                        .rows = call->rows,
                                        .width = c->out_w,
                                        .channels = c->out_c,
                                        .chunk = c->chunk,
                                        .scratch = call->scratch,
                                        .grad = call->grad,
                                        .grad_row = call->grad_row,
                                        .grad_image = call->grad_image,
                                        .sums = call->sums};
  mt_kernels->winograd_grad_weight(&block);
}

static void grad_direct(const mt_conv *c, const mt_conv_grad_call *call) {
  const mt_conv2d_grad_block block = {.in = call->in,
                                      .in_kernel_row = call->in_row,
                                      .in_pixel = c->stride[1] * c->in_c,
                                      .in_row = c->stride[0] * call->in_row,
                                      .in_image = call->in_image,
                                      .kernel_rows = c->kernel[0],
                                      .run = c->kernel[1] * c->in_c,
                                      .grad = call->grad,
                                      .grad_pixel = c->out_c,
                                      .grad_row = call->grad_row,
                                      .grad_image = call->grad_image,
                                      .sums = call->sums,
                                      .images = call->images,
                                      .rows = call->rows,
                                      .width = c->out_w,
                                      .channels = c->out_c,
                                      .last_panel = mt_conv_panels(c)};
  mt_kernels->conv2d_grad_weight(&block);
}

static void grad_depthwise(const mt_conv *c, const mt_conv_grad_call *call) {
  mt_depthwise_grad_block block = {.in_size = {mt_conv_reach(c, 0, call->rows), call->in_row / c->in_c},
                                   .channels = c->in_c,
                                   .width = c->out_w,
                                   .grad_row = call->grad_row,
                                   .taps = {c->kernel[0], c->kernel[1]},
                                   .stride = {c->stride[0], c->stride[1]},
                                   .dilation = {1, 1},
                                   .sums = call->sums};
  for (int64_t n = 0; n < call->images; n++) {
    block.in = call->in + n * call->in_image;
    block.grad = call->grad + n * call->grad_image;
    mt_kernels->depthwise_grad_weight(&block, 0, call->rows);
  }
}

void mt_conv_weight_grad(const mt_conv *c, const mt_conv_grad_call *call) {
  assert(call->images > 0 && call->rows > 0 && call->rows <= c->out_h);
  if (c->depthwise)
    grad_depthwise(c, call);
  else if (c->winograd_grad)
    grad_winograd(c, call);
  else
    grad_direct(c, call);
}
