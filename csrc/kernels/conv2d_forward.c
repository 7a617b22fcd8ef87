/* Convolution forward: register tiles of pixels x vectors of output channels.
 *
 * A tile keeps its sums in registers over all taps. For each tap the weights are loaded once and the pixels' input
 * values are broadcast from memory into the multiply-adds; so per tap there are about as many loads as multiply-adds
 * with one vector of channels, and half as many with two. Rows of pixels are cut into equal tiles, so that none is
 * left with too few sums to hide the latency of a multiply-add. */
#include "kernels/vector.h"

#if MT_VECTOR_BYTES == 64 /* 32 registers: 28 sums */
#define PIXELS_1 28
#define PIXELS_2 14
#else /* 16 registers: 12 sums */
#define PIXELS_1 12
#define PIXELS_2 6
#endif

#define SET_BYTES 4096 /* of the nearest cache, each of its WAYS */
#define WAYS 8
#define SHORT_RUN 128 /* taps: a tile is over before the processor has noticed in which order it reads its pixels */
#define CALLERS 2     /* the last tiles of a panel call for the next panel's weights; all at once would be too fast */
#define GROUP 5       /* pixels reached from one pointer: an address is pointer + {0, 1, 2, 4} x step or + 3 x step */
#define MAX_GROUPS ((PIXELS_1 + GROUP - 1) / GROUP)

MT_INLINE float at(const char *pointer, int offset, int64_t step, int64_t step3) {
  return *(const float *)(pointer + (offset == 3 ? step3 : offset * step));
}

/* Weights that a tile calls for, `step` floats at each of its taps; 0: none. */
typedef struct {
  const float *at;
  int64_t step;
} weights_ahead;

/* pixels <= PIXELS_vectors; constants after inlining. `valid`: channels of the last vector that exist. */
MT_INLINE void tile(const mt_conv2d_block *b, const float *in, const float *weights, const float *bias,
                    const float *residual, float *out, int64_t kernel_rows, int valid, weights_ahead next,
                    const bool calls, const int pixels, const int vectors) {
  const int groups = (pixels + GROUP - 1) / GROUP;
  const int64_t step = b->in_pixel * (int64_t)sizeof(float), step3 = 3 * step;
  /* The next pixels are called for: a line for each tap, and in a longer run exactly theirs. */
  const int64_t ahead_step = kernel_rows != 1 ? 0 : b->run <= SHORT_RUN ? MT_LINE : pixels * (int64_t)sizeof(float);
  mt_vf sum[PIXELS_1];
#if MT_VECTOR_BYTES == MT_LINE
  /* So many lines are written at once that the tile after would wait for them. */
#pragma GCC unroll 28
  for (int p = 0; p < pixels; p++)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) __builtin_prefetch(out + p * b->out_pixel + v * MT_VF, 1, 3);
#endif
  if (residual) {
#pragma GCC unroll 28
    for (int p = 0; p < pixels; p++)
#pragma GCC unroll 2
      for (int v = 0; v < vectors; v += MT_LINE / MT_VECTOR_BYTES)
        __builtin_prefetch(residual + p * b->out_pixel + v * MT_VF, 0, 3);
  }
#pragma GCC unroll 2
  for (int v = 0; v < vectors; v++) {
    const mt_vf start = !bias ? (mt_vf){0} : v == vectors - 1 ? mt_load_n(bias + v * MT_VF, valid) : mt_load(bias);
#pragma GCC unroll 28
    for (int p = 0; p < pixels; p++) sum[p * vectors + v] = start;
  }
  for (int64_t kernel_row = 0; kernel_row < kernel_rows; kernel_row++) {
    const char *pointer[MAX_GROUPS];
#pragma GCC unroll 8
    for (int g = 0; g < groups; g++) pointer[g] = (const char *)(in + kernel_row * b->in_kernel_row) + g * GROUP * step;
    const char *ahead = pointer[0] + pixels * step;
    for (int64_t r = b->run; r > 0; r--, ahead += ahead_step) {
      mt_vf w[2];
      __builtin_prefetch(ahead, 0, 3);
      if (calls) {
        __builtin_prefetch(next.at, 0, 2);
        next.at += next.step;
      }
#pragma GCC unroll 2
      for (int v = 0; v < vectors; v++) w[v] = *(const mt_vf *)(weights + v * MT_VF);
      weights += vectors * MT_VF;
#pragma GCC unroll 28
      for (int p = 0; p < pixels; p++) {
        const float x = at(pointer[p / GROUP], p % GROUP, step, step3);
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sum[p * vectors + v] += x * w[v];
      }
#pragma GCC unroll 8
      for (int g = 0; g < groups; g++) {
        pointer[g] += sizeof(float);
        /* Keeps the compiler from one induction variable per pixel, more than there are registers. */
        __asm__("" : "+r"(pointer[g]));
      }
    }
  }
  const bool relu = b->relu; /* copies: a store might change *b, for all the compiler knows */
  const float limit = b->limit;
#pragma GCC unroll 28
  for (int p = 0; p < pixels; p++) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
      mt_vf result = sum[p * vectors + v];
      const int64_t at = p * b->out_pixel + v * MT_VF;
      float *to = out + at;
      const bool whole = v < vectors - 1 || valid == MT_VF;
      if (residual) result += whole ? mt_load(residual + at) : mt_load_n(residual + at, valid);
      if (relu) result = limit > 0 ? mt_clamp(result, (mt_vf){0}, mt_splat(limit)) : mt_relu(result);
      if (whole)
        mt_store(to, result);
      else
        mt_store_n(to, result, valid);
    }
  }
}

typedef void tile_function(const mt_conv2d_block *b, const float *in, const float *weights, const float *bias,
                           const float *residual, float *out, int64_t kernel_rows, int valid, weights_ahead next);

#define TILE(pixels, vectors)                                                                                      \
  static void tile_##pixels##_##vectors(const mt_conv2d_block *b, const float *in, const float *weights,           \
                                        const float *bias, const float *residual, float *out, int64_t kernel_rows, \
                                        int valid, weights_ahead next) {                                           \
    if (next.step)                                                                                                 \
      tile(b, in, weights, bias, residual, out, kernel_rows, valid, next, true, pixels, vectors);                  \
    else                                                                                                           \
      tile(b, in, weights, bias, residual, out, kernel_rows, valid, next, false, pixels, vectors);                 \
  }
#define NAME(pixels, vectors) tile_##pixels##_##vectors,

#define PIXELS_TO_6(T, v) T(1, v) T(2, v) T(3, v) T(4, v) T(5, v) T(6, v)
#define PIXELS_TO_12(T, v) PIXELS_TO_6(T, v) T(7, v) T(8, v) T(9, v) T(10, v) T(11, v) T(12, v)
#define PIXELS_TO_14(T, v) PIXELS_TO_12(T, v) T(13, v) T(14, v)
#define PIXELS_TO_28(T, v) \
  PIXELS_TO_14(T, v)       \
  T(15, v)                 \
  T(16, v) T(17, v) T(18, v) T(19, v) T(20, v) T(21, v) T(22, v) T(23, v) T(24, v) T(25, v) T(26, v) T(27, v) T(28, v)
#if MT_VECTOR_BYTES == 64
#define ALL_1(T) PIXELS_TO_28(T, 1)
#define ALL_2(T) PIXELS_TO_14(T, 2)
#else
#define ALL_1(T) PIXELS_TO_12(T, 1)
#define ALL_2(T) PIXELS_TO_6(T, 2)
#endif

ALL_1(TILE)
ALL_2(TILE)
static tile_function *const tiles_1[] = {ALL_1(NAME)};
static tile_function *const tiles_2[] = {ALL_2(NAME)};

/* The kernel rows of output row y that meet the image. */
typedef struct {
  int64_t first, count;
} kernel_range;

static kernel_range kernel_range_of(const mt_conv2d_block *b, int64_t y) {
  int64_t above = b->rows_above - y * b->row_stride, below = b->rows_below - (b->rows - 1 - y) * b->row_stride;
  if (above < 0) above = 0;
  if (below < 0) below = 0;
  if (above + below >= b->kernel_rows) return (kernel_range){0, 0};
  return (kernel_range){above, b->kernel_rows - above - below};
}

/* The nearest cache finds a line by the lower 12 bits of its address, and has 8 places (WAYS) for those that are alike:
 * pixels too many of which are alike would throw each other out at every tap. One place is left to the weights. */
static int64_t pixels_that_fit(int64_t step) {
  int64_t alike = 1; /* one pixel in how many has the same lower bits */
  while (alike < PIXELS_1 && step * alike % SET_BYTES != 0) alike *= 2;
  return alike * (WAYS - 1);
}

/* The next panel's weights that a tile calls for which has so many others after it. */
static weights_ahead part_of_panel(const float *panel, int64_t width, int64_t rows, int64_t tiles_after) {
  const int64_t step = width / CALLERS;
  return (weights_ahead){panel + (CALLERS - 1 - tiles_after) * step * rows, step};
}

void MT_KERNEL(conv2d_forward)(const mt_conv2d_block *b) {
  const int64_t vectors = (b->channels + MT_VF - 1) / MT_VF;
  const int64_t taps = b->kernel_rows * b->run, fit = pixels_that_fit(b->in_pixel * (int64_t)sizeof(float));
  const bool weights_are_far = vectors * MT_VECTOR_BYTES * taps >= SET_BYTES * WAYS;
  for (int64_t v = 0; v < vectors; v += MT_CONV2D_PANEL) {
    const bool two = vectors - v >= 2;
    tile_function *const *tiles = two ? tiles_2 : tiles_1;
    const int64_t full = two ? PIXELS_2 : PIXELS_1, most = full < fit ? full : fit,
                  count = (b->width + most - 1) / most;
    const int64_t pixels = count ? b->width / count : 0, longer = b->width - pixels * count;
    const int64_t left = b->channels - (v + two) * MT_VF;
    const int valid = left < MT_VF ? (int)left : MT_VF;
    const float *bias = b->bias ? b->bias + v * MT_VF : NULL;
    const int64_t width = (1 + two) * MT_VF;
    const float *panel = b->weights + v * MT_VF * taps, *next_panel = panel + width * taps;
    for (int64_t y = 0; y < b->rows; y++) {
      const kernel_range k = kernel_range_of(b, y);
      const float *in = b->in + y * b->in_row + k.first * b->in_kernel_row;
      const float *weights = panel + k.first * b->run * width;
      for (int64_t t = 0, begin = 0, end; t < count; t++, begin = end) {
        end = begin + pixels + (t < longer);
        const int64_t at = begin * b->out_pixel + v * MT_VF, tiles_after = (b->rows - y) * count - t - 1;
        const bool calls = weights_are_far && tiles_after < CALLERS;
        tiles[end - begin - 1](b, in + begin * b->in_pixel, weights, bias,
                               b->residual ? b->residual + y * b->residual_row + at : NULL,
                               b->out + y * b->out_row + at, k.count, valid,
                               calls ? part_of_panel(next_panel, width, taps, tiles_after) : (weights_ahead){0});
      }
    }
  }
}
