/* Winograd F(4x4, 3x3) and F(2x2, 5x5), see winograd.h. Every transform is one-dimensional over vectors of channels,
 * first down the columns, then along the rows; opposite points share their even and odd parts. `tile` (outputs, 4 or 2)
 * and the taps, 7 - tile, are constants after inlining. */
#include "kernels/vector.h"

#define MOST_TILE 4
#define MOST_TAPS 5
#define TAPS(tile) (SPAN + 1 - (tile))
/* Calls what takes a tile as its last argument. */
#define BY_TILE(tile, name, ...) ((tile) == 2 ? name(__VA_ARGS__, 2) : name(__VA_ARGS__, 4))
#define SPAN MT_WINOGRAD_SPAN
#define PLACES MT_WINOGRAD_PLACES
#define RUN 8 /* tiles beside each other that are transformed together */

/* The points +-P and +-Q; P * P = 1/2, Q * Q = 2. */
#define P 0.70710678118654752f
#define Q 1.41421356237309505f

/* B^T d: six inputs to six places. Row of a point p: the product of (x - q) over the other points, at x^k = d[k]. */
MT_INLINE void transform_input(const mt_vf d[SPAN], mt_vf out[SPAN]) {
  const mt_vf even_p = d[4] - 2.0f * d[2], odd_p = P * (d[3] - 2.0f * d[1]);
  const mt_vf even_q = d[4] - 0.5f * d[2], odd_q = Q * (d[3] - 0.5f * d[1]);
  out[0] = (d[0] + d[4]) - 2.5f * d[2];
  out[1] = even_p + odd_p;
  out[2] = even_p - odd_p;
  out[3] = even_q + odd_q;
  out[4] = even_q - odd_q;
  out[5] = (d[1] + d[5]) - 2.5f * d[3];
}

/* A^T m: six places to the outputs, out[k] = sum over points of p^k m; infinity counts in the last only. */
MT_INLINE void transform_output(const mt_vf m[SPAN], mt_vf out[MOST_TILE], const int tile) {
  const mt_vf sum_p = m[1] + m[2], difference_p = P * (m[1] - m[2]);
  const mt_vf sum_q = m[3] + m[4], difference_q = Q * (m[3] - m[4]);
  out[0] = m[0] + sum_p + sum_q;
  out[1] = difference_p + difference_q;
  if (tile == 2) {
    out[1] += m[5];
    return;
  }
  out[2] = 0.5f * sum_p + 2.0f * sum_q;
  out[3] = 0.5f * difference_p + 2.0f * difference_q + m[5];
}

/* A y: the transpose of transform_output. */
MT_INLINE void transform_grad(const mt_vf y[MOST_TILE], mt_vf out[SPAN], const int tile) {
  const bool two = tile == 2;
  const mt_vf even_p = two ? y[0] : y[0] + 0.5f * y[2], odd_p = P * (two ? y[1] : y[1] + 0.5f * y[3]);
  const mt_vf even_q = two ? y[0] : y[0] + 2.0f * y[2], odd_q = Q * (two ? y[1] : y[1] + 2.0f * y[3]);
  out[0] = y[0];
  out[1] = even_p + odd_p;
  out[2] = even_p - odd_p;
  out[3] = even_q + odd_q;
  out[4] = even_q - odd_q;
  out[5] = y[tile - 1];
}

/* G g: the taps to six places, row of a point p: (1, p, p^2, ...) / product of (p - q) over the other finite points. */
MT_INLINE void transform_kernel(const mt_vf g[MOST_TAPS], mt_vf out[SPAN], const int taps) {
  const bool five = taps == 5;
  const mt_vf even_p = (-2.0f / 3) * (g[0] + 0.5f * (five ? g[2] + 0.5f * g[4] : g[2]));
  const mt_vf even_q = (1.0f / 6) * (g[0] + 2.0f * (five ? g[2] + 2.0f * g[4] : g[2]));
  const mt_vf odd_p = (-2.0f / 3 * P) * (five ? g[1] + 0.5f * g[3] : g[1]);
  const mt_vf odd_q = (1.0f / 6 * Q) * (five ? g[1] + 2.0f * g[3] : g[1]);
  out[0] = g[0];
  out[1] = even_p + odd_p;
  out[2] = even_p - odd_p;
  out[3] = even_q + odd_q;
  out[4] = even_q - odd_q;
  out[5] = g[taps - 1];
}

/* G^T u: the transpose of transform_kernel. */
MT_INLINE void transform_kernel_back(const mt_vf u[SPAN], mt_vf out[MOST_TAPS], const int taps) {
  const mt_vf sum_p = (-2.0f / 3) * (u[1] + u[2]), sum_q = (1.0f / 6) * (u[3] + u[4]);
  const mt_vf difference_p = u[1] - u[2], difference_q = u[3] - u[4];
  out[0] = u[0] + sum_p + sum_q;
  out[1] = (-2.0f / 3 * P) * difference_p + (1.0f / 6 * Q) * difference_q;
  out[2] = 0.5f * sum_p + 2.0f * sum_q;
  if (taps == 5) {
    out[3] = (-1.0f / 3 * P) * difference_p + (1.0f / 3 * Q) * difference_q;
    out[4] = 0.25f * sum_p + 4.0f * sum_q;
  }
  out[taps - 1] += u[5];
}

/* ---- weights ---- */

static int64_t vectors_of(int64_t channels) { return (channels + MT_VF - 1) / MT_VF; }

/* Runs the statements for each vector of weights of the panels: the kernel's taps^2 taps lie from `first_tap` on, `tap`
 * floats apart; its 36 places from `first_place` on, `place` floats apart. */
#define FOR_WEIGHT_VECTORS(taps, in_channels, channels, first_panel, last_panel, ...)                            \
  do {                                                                                                           \
    const int64_t vectors_ = vectors_of(channels);                                                               \
    for (int64_t v_ = (first_panel)*MT_CONV2D_PANEL; v_ < (last_panel)*MT_CONV2D_PANEL && v_ < vectors_;         \
         v_ += MT_CONV2D_PANEL) {                                                                                \
      const int64_t width = (vectors_ - v_ < MT_CONV2D_PANEL ? vectors_ - v_ : MT_CONV2D_PANEL) * MT_VF;         \
      for (int64_t at_ = 0; at_ < (in_channels)*width; at_ += MT_VF) {                                           \
        const int64_t tap = (in_channels)*width, first_tap = v_ * MT_VF * (taps) * (taps) * (in_channels) + at_; \
        const int64_t place = vectors_ * MT_VF * (in_channels), first_place = v_ * MT_VF * (in_channels) + at_;  \
        __VA_ARGS__                                                                                              \
      }                                                                                                          \
    }                                                                                                            \
  } while (0)

MT_INLINE void weights_of(const float *packed, int64_t in_channels, int64_t channels, int64_t first_panel,
                          int64_t last_panel, float *transformed, const int tile) {
  const int taps = TAPS(tile);
  FOR_WEIGHT_VECTORS(taps, in_channels, channels, first_panel, last_panel, {
    mt_vf columns[MOST_TAPS][SPAN];
    for (int x = 0; x < taps; x++) {
      mt_vf g[MOST_TAPS];
      for (int y = 0; y < taps; y++) g[y] = mt_load(packed + first_tap + (taps * y + x) * tap);
      transform_kernel(g, columns[x], taps);
    }
    for (int y = 0; y < SPAN; y++) {
      mt_vf g[MOST_TAPS], out[SPAN];
      for (int x = 0; x < taps; x++) g[x] = columns[x][y];
      transform_kernel(g, out, taps);
      for (int x = 0; x < SPAN; x++) mt_store(transformed + first_place + (SPAN * y + x) * place, out[x]);
    }
  });
}

void MT_KERNEL(winograd_weights)(int tile, const float *packed, int64_t in_channels, int64_t channels,
                                 int64_t first_panel, int64_t last_panel, float *transformed) {
  BY_TILE(tile, weights_of, packed, in_channels, channels, first_panel, last_panel, transformed);
}

MT_INLINE void grad_back(const float *sums, int64_t copies, int64_t copy_step, int64_t in_channels, int64_t channels,
                         int64_t first_panel, int64_t last_panel, float *packed, const int tile) {
  const int taps = TAPS(tile);
  FOR_WEIGHT_VECTORS(taps, in_channels, channels, first_panel, last_panel, {
    mt_vf columns[SPAN][MOST_TAPS];
    for (int x = 0; x < SPAN; x++) {
      mt_vf u[SPAN];
      for (int y = 0; y < SPAN; y++) {
        const float *from = sums + first_place + (SPAN * y + x) * place;
        u[y] = mt_load(from);
        for (int64_t copy = 1; copy < copies; copy++) u[y] += mt_load(from + copy * copy_step);
      }
      transform_kernel_back(u, columns[x], taps);
    }
    for (int y = 0; y < taps; y++) {
      mt_vf u[SPAN], out[MOST_TAPS];
      for (int x = 0; x < SPAN; x++) u[x] = columns[x][y];
      transform_kernel_back(u, out, taps);
      for (int x = 0; x < taps; x++) mt_store(packed + first_tap + (taps * y + x) * tap, out[x]);
    }
  });
}

void MT_KERNEL(winograd_grad_back)(int tile, const float *sums, int64_t copies, int64_t copy_step, int64_t in_channels,
                                   int64_t channels, int64_t first_panel, int64_t last_panel, float *packed) {
  BY_TILE(tile, grad_back, sums, copies, copy_step, in_channels, channels, first_panel, last_panel, packed);
}

/* ---- tiles ---- */

/* Six vectors, `step` bytes apart. Few distinct address registers: outer loops below stay rolled for the same reason,
 * unrolled they would keep 36 addresses on the stack. */
MT_INLINE const float *at(const float *p, int i, int64_t step, int64_t step3) {
  const char *base = (const char *)p;
  return (const float *)(i == 3 ? base + step3 : i == 5 ? base + step3 + 2 * step : base + i * step);
}

MT_INLINE void load_6(const float *p, int64_t step, mt_vf out[SPAN], int valid, bool whole) {
  const int64_t step3 = 3 * step;
#pragma GCC unroll 6
  for (int i = 0; i < SPAN; i++) out[i] = mt_load_lanes(at(p, i, step, step3), valid, whole);
}

MT_INLINE void store_6(float *p, int64_t step, const mt_vf v[SPAN], int valid, bool whole) {
  const int64_t step3 = 3 * step;
#pragma GCC unroll 6
  for (int i = 0; i < SPAN; i++) mt_store_lanes((float *)(uintptr_t)at(p, i, step, step3), v[i], valid, whole);
}

/* One vector of channels of `tiles` tiles beside each other, 6 x 6 pixels to 36 places each. Neighbours share columns
 * of pixels, which are transformed once. */
MT_INLINE void input_run(const float *in, int64_t in_row, int64_t channels, int64_t tiles, float *out, int64_t place,
                         int valid, bool whole, const int tile) {
  const int64_t row_bytes = in_row * (int64_t)sizeof(float), place_bytes = place * (int64_t)sizeof(float);
  mt_vf columns[RUN * MOST_TILE + SPAN][SPAN];
  for (int64_t x = 0; x < (tiles - 1) * tile + SPAN; x++) {
    mt_vf d[SPAN];
    load_6(in + x * channels, row_bytes, d, valid, whole);
    transform_input(d, columns[x]);
  }
  for (int64_t t = 0; t < tiles; t++) {
    float *to = out + t * channels;
#pragma GCC unroll 1
    for (int y = 0; y < SPAN; y++, to += SPAN * place) {
      mt_vf d[SPAN], transformed[SPAN];
#pragma GCC unroll 6
      for (int x = 0; x < SPAN; x++) d[x] = columns[t * tile + x][y];
      transform_input(d, transformed);
      store_6(to, place_bytes, transformed, valid, whole);
    }
  }
}

/* A tile of the output's gradient to 36 places. */
MT_INLINE void grad_tile(const float *grad, int64_t grad_row, int64_t channels, float *out, int64_t place, int valid,
                         bool whole, const int tile) {
  mt_vf columns[MOST_TILE][SPAN];
#pragma GCC unroll 1
  for (int x = 0; x < tile; x++) {
    mt_vf d[MOST_TILE];
#pragma GCC unroll 4
    for (int y = 0; y < tile; y++) d[y] = mt_load_lanes(grad + y * grad_row + x * channels, valid, whole);
    transform_grad(d, columns[x], tile);
  }
#pragma GCC unroll 1
  for (int y = 0; y < SPAN; y++) {
    mt_vf d[MOST_TILE], t[SPAN];
#pragma GCC unroll 4
    for (int x = 0; x < tile; x++) d[x] = columns[x][y];
    transform_grad(d, t, tile);
    store_6(out + SPAN * y * place, place * (int64_t)sizeof(float), t, valid, whole);
  }
}

/* 36 places to rows x width <= tile x tile pixels. */
MT_INLINE void output_tile(const mt_winograd_block *b, const float *in, int64_t place, int64_t channel,
                           const float *residual, float *out, int64_t rows, int64_t width, int valid, bool whole,
                           const int tile) {
  const mt_vf bias = b->bias ? mt_load_lanes(b->bias + channel, valid, whole) : (mt_vf){0};
  /* Copies: a store might change *b, for all the compiler knows. */
  const int64_t out_row = b->out_row, out_pixel = b->out_pixel, residual_row = b->residual_row;
  const bool relu = b->relu;
  const float limit = b->limit;
  mt_vf columns[SPAN][MOST_TILE];
#pragma GCC unroll 6
  for (int x = 0; x < SPAN; x++, in += place) {
    mt_vf m[SPAN];
    __asm__("" : "+r"(in)); /* one address after the other: together they would need more registers than there are */
    load_6(in, SPAN * place * (int64_t)sizeof(float), m, valid, whole);
    transform_output(m, columns[x], tile);
  }
#pragma GCC unroll 4
  for (int64_t y = 0; y < tile; y++, out += out_row) {
    if (y >= rows) break;
    mt_vf m[SPAN], t[MOST_TILE];
    __asm__("" : "+r"(out));
#pragma GCC unroll 6
    for (int x = 0; x < SPAN; x++) m[x] = columns[x][y];
    transform_output(m, t, tile);
#pragma GCC unroll 4
    for (int64_t x = 0; x < tile; x++) {
      if (x >= width) break;
      mt_vf result = t[x] + bias;
      if (residual) result += mt_load_lanes(residual + x * out_pixel, valid, whole);
      if (relu) result = limit > 0 ? mt_clamp(result, (mt_vf){0}, mt_splat(limit)) : mt_relu(result);
      mt_store_lanes(out + x * out_pixel, result, valid, whole);
    }
    if (residual) residual += residual_row;
  }
}

/* Where tile t lies: tiles are counted along the rows of each image, image after image. */
typedef struct {
  int64_t image, y, x; /* of its first pixel */
} tile_place;

MT_INLINE tile_place place_of(int64_t i, int64_t rows, int64_t width, const int tile) {
  const int64_t across = (width + tile - 1) / tile, down = (rows + tile - 1) / tile;
  return (tile_place){i / (across * down), i / across % down * tile, i % across * tile};
}

MT_INLINE int64_t tiles_of(int64_t images, int64_t rows, int64_t width, const int tile) {
  return images * ((rows + tile - 1) / tile) * ((width + tile - 1) / tile);
}

MT_INLINE void transform_inputs(const float *in, int64_t in_row, int64_t in_image, int64_t channels, int64_t rows,
                                int64_t width, int64_t first, int64_t count, float *out, const int tile) {
  const int64_t step = mt_winograd_step(count, channels), across = (width + tile - 1) / tile;
  for (int64_t t = 0, tiles; t < count; t += tiles) {
    const tile_place p = place_of(first + t, rows, width, tile);
    tiles = across - p.x / tile;
    if (tiles > count - t) tiles = count - t;
    if (tiles > RUN) tiles = RUN;
    const float *from = in + p.image * in_image + p.y * in_row + p.x * channels;
    float *to = out + t * channels;
    MT_FOR_CHANNEL_VECTORS(channels, input_run(from + c, in_row, channels, tiles, to + c, step, valid, whole, tile));
  }
}

MT_INLINE void transform_outputs(const mt_winograd_block *b, const float *products, int64_t first, int64_t count,
                                 const int tile) {
  const int64_t step = mt_winograd_step(count, b->channels);
  for (int64_t t = 0; t < count; t++) {
    const tile_place p = place_of(first + t, b->rows, b->width, tile);
    const int64_t rows = b->rows - p.y < tile ? b->rows - p.y : tile;
    const int64_t width = b->width - p.x < tile ? b->width - p.x : tile;
    const float *from = products + t * b->channels;
    const int64_t residual_at = p.image * b->residual_image + p.y * b->residual_row + p.x * b->out_pixel;
    float *to = b->out + p.image * b->out_image + p.y * b->out_row + p.x * b->out_pixel;
    MT_FOR_CHANNEL_VECTORS(b->channels, {
      const float *residual = b->residual ? b->residual + residual_at + c : NULL;
      if (rows == tile && width == tile)
        output_tile(b, from + c, step, c, residual, to + c, tile, tile, valid, whole, tile);
      else
        output_tile(b, from + c, step, c, residual, to + c, rows, width, valid, whole, tile);
    });
  }
}

MT_INLINE void transform_grads(const mt_winograd_grad_block *b, int64_t first, int64_t count, float *out,
                               const int tile) {
  const int64_t step = mt_winograd_step(count, b->channels);
  for (int64_t t = 0; t < count; t++) {
    const tile_place p = place_of(first + t, b->rows, b->width, tile);
    const float *from = b->grad + p.image * b->grad_image + p.y * b->grad_row + p.x * b->channels;
    float *to = out + t * b->channels;
    MT_FOR_CHANNEL_VECTORS(b->channels,
                           grad_tile(from + c, b->grad_row, b->channels, to + c, step, valid, whole, tile));
  }
}

/* ---- the whole ---- */

MT_INLINE void forward(const mt_winograd_block *b, const int tile) {
  const int64_t tiles = tiles_of(b->images, b->rows, b->width, tile);
  const int64_t matrix = vectors_of(b->channels) * MT_VF * b->in_channels;
  float *inputs = b->scratch, *products = b->scratch + PLACES * mt_winograd_step(b->chunk, b->in_channels);
  for (int64_t first = 0; first < tiles; first += b->chunk) {
    const int64_t count = tiles - first < b->chunk ? tiles - first : b->chunk;
    transform_inputs(b->in, b->in_row, b->in_image, b->in_channels, b->rows, b->width, first, count, inputs, tile);
    mt_conv2d_block product = {.in = inputs,
                               .in_pixel = b->in_channels,
                               .kernel_rows = 1,
                               .run = b->in_channels,
                               .weights = b->weights,
                               .out = products,
                               .out_pixel = b->channels,
                               .rows = 1,
                               .width = count,
                               .channels = b->channels};
    for (int64_t place = 0; place < PLACES; place++) {
      MT_KERNEL(conv2d_forward)(&product);
      product.in += mt_winograd_step(count, b->in_channels);
      product.weights += matrix;
      product.out += mt_winograd_step(count, b->channels);
    }
    transform_outputs(b, products, first, count, tile);
  }
}

void MT_KERNEL(winograd_forward)(const mt_winograd_block *b) { BY_TILE(b->tile, forward, b); }

MT_INLINE void grad_weight(const mt_winograd_grad_block *b, const int tile) {
  const int64_t tiles = tiles_of(b->images, b->rows, b->width, tile), vectors = vectors_of(b->channels);
  float *inputs = b->scratch, *grads = b->scratch + PLACES * mt_winograd_step(b->chunk, b->in_channels);
  for (int64_t first = 0; first < tiles; first += b->chunk) {
    const int64_t count = tiles - first < b->chunk ? tiles - first : b->chunk;
    transform_inputs(b->in, b->in_row, b->in_image, b->in_channels, b->rows, b->width, first, count, inputs, tile);
    transform_grads(b, first, count, grads, tile);
    mt_conv2d_grad_block product = {.in = inputs,
                                    .in_pixel = b->in_channels,
                                    .kernel_rows = 1,
                                    .run = b->in_channels,
                                    .grad = grads,
                                    .grad_pixel = b->channels,
                                    .sums = b->sums,
                                    .images = 1,
                                    .rows = 1,
                                    .width = count,
                                    .channels = b->channels,
                                    .last_panel = (vectors + MT_CONV2D_PANEL - 1) / MT_CONV2D_PANEL};
    for (int64_t place = 0; place < PLACES; place++) {
      MT_KERNEL(conv2d_grad_weight)(&product);
      product.in += mt_winograd_step(count, b->in_channels);
      product.grad += mt_winograd_step(count, b->channels);
      product.sums += vectors * MT_VF * b->in_channels;
    }
  }
}

void MT_KERNEL(winograd_grad_weight)(const mt_winograd_grad_block *b) { BY_TILE(b->tile, grad_weight, b); }
