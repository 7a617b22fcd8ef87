#include "ops/block_conv.h"

#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "ops/correlate.h"

/* Below this many channels the transforms of Winograd's tiles cost more than the products they save. */
#define WINOGRAD_MIN_CHANNELS 8
/* Transformed tiles in flight: many enough for the matrix products, few enough to stay in the second-level cache. */
#define WINOGRAD_MIN_TILES 14
#define WINOGRAD_MAX_TILES 84
#define WINOGRAD_CHUNK_BYTES ((int64_t)384 << 10)
/* A thread's sums of transformed weights' gradients: more would be read and written from main memory at every chunk. */
#define WINOGRAD_MAX_SUMS_BYTES ((int64_t)12 << 20)

/* Weights that are worth a thread of their own. */
#define WEIGHTS_GRAIN ((int64_t)1 << 14)

/* ---- the plan ---- */

static int64_t direct_rows(const mt_block_conv *c) { return c->kernel[0] * c->kernel[1] * c->in_c; }
static int64_t direct_floats(const mt_block_conv *c) { return mt_packed_floats(direct_rows(c), c->out_c); }

static int64_t winograd_floats(const mt_block_conv *c) {
  return mt_packed_floats(MT_WINOGRAD_PLACES * c->in_c, c->out_c);
}

static int64_t tiles_along(int64_t pixels) { return (pixels + MT_WINOGRAD_TILE - 1) / MT_WINOGRAD_TILE; }

static bool winograd_pays(const mt_block_conv *c) {
  if (c->kernel[0] != 3 || c->kernel[1] != 3 || c->stride[0] != 1 || c->stride[1] != 1) return false;
  if (c->in_c < WINOGRAD_MIN_CHANNELS || c->out_c < WINOGRAD_MIN_CHANNELS) return false;
  const int64_t covered = tiles_along(c->out_h) * tiles_along(c->out_w) * MT_WINOGRAD_TILE * MT_WINOGRAD_TILE;
  return covered <= 2 * c->out_h * c->out_w;
}

static int64_t tiles_at_a_time(const mt_block_conv *c) {
  const int64_t tile_bytes = MT_WINOGRAD_PLACES * (c->in_c + c->out_c) * (int64_t)sizeof(float);
  const int64_t tiles = WINOGRAD_CHUNK_BYTES / tile_bytes / WINOGRAD_MIN_TILES * WINOGRAD_MIN_TILES;
  if (tiles > WINOGRAD_MAX_TILES) return WINOGRAD_MAX_TILES;
  return tiles < 2 * WINOGRAD_MIN_TILES ? 2 * WINOGRAD_MIN_TILES : tiles;
}

static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

mt_block_conv mt_block_conv_plan(const int64_t kernel[2], const int64_t stride[2], const int64_t in_size[2],
                                 int64_t in_c, const int64_t out_size[2], int64_t out_c) {
  mt_block_conv c = {.kernel = {kernel[0], kernel[1]},
                     .stride = {stride[0], stride[1]},
                     .in_h = in_size[0],
                     .in_w = in_size[1],
                     .in_c = in_c,
                     .out_h = out_size[0],
                     .out_w = out_size[1],
                     .out_c = out_c,
                     .group = 1};
  c.winograd = winograd_pays(&c);
  if (c.winograd) {
    const int64_t down = tiles_along(c.out_h), across = tiles_along(c.out_w);
    c.in_h = max64(c.in_h, down * MT_WINOGRAD_TILE + 2);
    c.in_w = max64(c.in_w, across * MT_WINOGRAD_TILE + 2);
    c.tiles = down * across;
    c.group = (WINOGRAD_MIN_TILES + c.tiles - 1) / c.tiles;
    c.winograd_grad = winograd_floats(&c) * (int64_t)sizeof(float) <= WINOGRAD_MAX_SUMS_BYTES;
    c.chunk = tiles_at_a_time(&c);
    if (c.chunk > c.group * c.tiles) c.chunk = c.group * c.tiles;
  }
  return c;
}

int64_t mt_block_conv_weight_floats(const mt_block_conv *c) {
  return c->winograd ? winograd_floats(c) : direct_floats(c);
}

int64_t mt_block_conv_sum_floats(const mt_block_conv *c) {
  return c->winograd_grad ? winograd_floats(c) : direct_floats(c);
}

int64_t mt_block_conv_scratch_floats(const mt_block_conv *c) {
  return c->winograd ? mt_winograd_scratch(c->chunk, c->in_c, c->out_c) : 0;
}

int64_t mt_block_conv_grad_extent(const mt_block_conv *c, int axis) {
  const int64_t out = axis ? c->out_w : c->out_h;
  return c->winograd_grad ? tiles_along(out) * MT_WINOGRAD_TILE : out;
}

/* ---- weights ---- */

static int64_t panel_columns(void) { return MT_CONV2D_PANEL * mt_kernels->vector_floats; }
static int64_t panels_of(const mt_block_conv *c) { return (c->out_c + panel_columns() - 1) / panel_columns(); }

/* Output channels from first on, at most a panel of them, into the panel's place. */
static void pack_panel(const mt_block_conv *c, const float *weight, bool back, int64_t first, float *packed) {
  const int64_t taps = c->kernel[0] * c->kernel[1], left = c->out_c - first;
  const int64_t channels = left < panel_columns() ? left : panel_columns();
  float *panel = packed + first * direct_rows(c);
  if (!back) {
    mt_kernels->conv2d_pack(weight + first, direct_rows(c), c->out_c, channels, 1, 0, direct_rows(c), panel);
    return;
  }
  for (int64_t t = 0; t < taps; t++)
    mt_kernels->conv2d_pack(weight + ((taps - 1 - t) * c->out_c + first) * c->in_c, c->in_c, 1, channels, c->in_c,
                            t * c->in_c, direct_rows(c), panel);
}

typedef struct {
  const mt_block_conv *plan;
  const float *weight;
  bool back;
  float *packed, *prepared;
} preparation;

static void prepare_panels(const void *context, int64_t begin, int64_t end) {
  const preparation *p = context;
  const mt_block_conv *c = p->plan;
  for (int64_t i = begin; i < end; i++) {
    pack_panel(c, p->weight, p->back, i * panel_columns(), p->packed);
    if (c->winograd) mt_kernels->winograd_weights(p->packed, c->in_c, c->out_c, i, i + 1, p->prepared);
  }
}

int mt_block_conv_prepare(const mt_block_conv *c, const float *weight, bool back, float *prepared) {
  const int64_t panels = panels_of(c);
  float *packed = c->winograd ? mt_alloc((size_t)direct_floats(c) * sizeof(float)) : prepared;
  if (!packed) return -1;
  mt_parallel(panels, mt_chunk(panels, direct_floats(c) / panels, WEIGHTS_GRAIN), prepare_panels,
              &(preparation){c, weight, back, packed, prepared});
  if (c->winograd) mt_free(packed);
  return 0;
}

typedef struct {
  const mt_block_conv *plan;
  const float *sums;
  int64_t copies;
  float *packed; /* NULL: the sums are the weights' own */
  float *weight_grad;
} collection;

static void transform_back(const void *context, int64_t begin, int64_t end) {
  const collection *w = context;
  const mt_block_conv *c = w->plan;
  for (int64_t i = begin; i < end; i++)
    mt_kernels->winograd_grad_back(w->sums, w->copies, mt_block_conv_sum_floats(c), c->in_c, c->out_c, i, i + 1,
                                   w->packed);
}

static void unpack_taps(const void *context, int64_t begin, int64_t end) {
  const collection *w = context;
  const mt_block_conv *c = w->plan;
  for (int64_t tap = begin; tap < end; tap++)
    mt_kernels->conv2d_unpack_sum(w->packed ? w->packed : w->sums, w->packed ? 1 : w->copies,
                                  mt_block_conv_sum_floats(c), c->out_c, direct_rows(c), tap * c->in_c,
                                  (tap + 1) * c->in_c, w->weight_grad);
}

int mt_block_conv_weight_result(const mt_block_conv *c, const float *sums, int64_t copies, float *weight_grad) {
  const int64_t panels = panels_of(c), taps = c->kernel[0] * c->kernel[1];
  float *packed = c->winograd_grad ? mt_alloc((size_t)direct_floats(c) * sizeof(float)) : NULL;
  if (c->winograd_grad && !packed) return -1;
  const collection work = {c, sums, copies, packed, weight_grad};
  if (packed) mt_parallel(panels, mt_chunk(panels, direct_floats(c) / panels, WEIGHTS_GRAIN), transform_back, &work);
  mt_parallel(taps, mt_chunk(taps, direct_floats(c) / taps, WEIGHTS_GRAIN), unpack_taps, &work);
  mt_free(packed);
  return 0;
}

/* ---- forward ---- */

static void run_winograd(const mt_block_conv *c, const mt_block_conv_call *call) {
  const mt_winograd_block block = {.in = call->in,
                                   .in_row = c->in_w * c->in_c,
                                   .in_image = call->in_image,
                                   .in_channels = c->in_c,
                                   .images = call->images,
                                   .rows = c->out_h,
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
                                   .out = call->out,
                                   .out_pixel = c->out_c,
                                   .out_row = call->out_row,
                                   .out_image = call->out_image};
  mt_kernels->winograd_forward(&block);
}

static void run_direct(const mt_block_conv *c, const mt_block_conv_call *call) {
  const int64_t row = c->in_w * c->in_c;
  mt_conv2d_block block = {.in_kernel_row = row,
                           .in_pixel = c->stride[1] * c->in_c,
                           .in_row = c->stride[0] * row,
                           .kernel_rows = c->kernel[0],
                           .run = c->kernel[1] * c->in_c,
                           .weights = call->weights,
                           .bias = call->bias,
                           .residual_row = call->residual_row,
                           .relu = call->relu,
                           .out_pixel = c->out_c,
                           .out_row = call->out_row,
                           .rows = c->out_h,
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

void mt_block_conv_run(const mt_block_conv *c, const mt_block_conv_call *call) {
  if (c->winograd)
    run_winograd(c, call);
  else
    run_direct(c, call);
}

/* ---- the weights' gradient ---- */

void mt_block_conv_weight_grad(const mt_block_conv *c, int64_t images, const float *in, int64_t in_image,
                               const float *grad, int64_t grad_row, int64_t grad_image, float *sums, float *scratch) {
  const int64_t row = c->in_w * c->in_c;
  if (c->winograd_grad) {
    const mt_winograd_grad_block block = {.in = in,
                                          .in_row = row,
                                          .in_image = in_image,
                                          .in_channels = c->in_c,
                                          .images = images,
                                          .rows = c->out_h,
                                          .width = c->out_w,
                                          .channels = c->out_c,
                                          .chunk = c->chunk,
                                          .scratch = scratch,
                                          .grad = grad,
                                          .grad_row = grad_row,
                                          .grad_image = grad_image,
                                          .sums = sums};
    mt_kernels->winograd_grad_weight(&block);
    return;
  }
  const mt_conv2d_grad_block block = {.in = in,
                                      .in_kernel_row = row,
                                      .in_pixel = c->stride[1] * c->in_c,
                                      .in_row = c->stride[0] * row,
                                      .in_image = in_image,
                                      .kernel_rows = c->kernel[0],
                                      .run = c->kernel[1] * c->in_c,
                                      .grad = grad,
                                      .grad_pixel = c->out_c,
                                      .grad_row = grad_row,
                                      .grad_image = grad_image,
                                      .sums = sums,
                                      .images = images,
                                      .rows = c->out_h,
                                      .width = c->out_w,
                                      .channels = c->out_c,
                                      .last_panel = panels_of(c)};
  mt_kernels->conv2d_grad_weight(&block);
}
