#include "explain/random_mask.h"

#include <math.h>
#include <string.h>

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t below(mt_rng *rng, int64_t bound) { return (int64_t)mt_rng_below(rng, (uint64_t)bound); }

/* A tensor that keeps every pixel. */
static mt_tensor *keep_all(int64_t n, int64_t height, int64_t width) {
  const int64_t shape[3] = {n, height, width};
  return mt_tensor_full(MT_UINT8, 3, shape, 1.0);
}

static void cut_square(uint8_t *keep, const int64_t size[2], int64_t top, int64_t left, int64_t side) {
  const int64_t first = larger(left, 0), end = smaller(left + side, size[1]);
  for (int64_t y = larger(top, 0); y < smaller(top + side, size[0]); y++)
    memset(keep + y * size[1] + first, 0, (size_t)(end - first));
}

mt_tensor *mt_random_squares(int64_t n, const int64_t size[2], int64_t min_side, int64_t max_side, mt_rng *rng) {
  char text[MT_SHAPE_TEXT];
  if (size[0] < 1 || size[1] < 1)
    return mt_fail_null(MT_ERROR_ARGUMENT, "random: size is %s, expected at least {1,1}", mt_shape_text(2, size, text));
  if (min_side < 1 || max_side < min_side)
    return mt_fail_null(MT_ERROR_ARGUMENT, "random: min is %lld and max is %lld, expected 1 <= min <= max",
                        (long long)min_side, (long long)max_side);
  mt_tensor *keep = keep_all(n, size[0], size[1]);
  if (!keep) return NULL;
  for (int64_t i = 0; i < n; i++) {
    const int64_t y = below(rng, size[0]), x = below(rng, size[1]);
    const int64_t side = min_side + below(rng, max_side - min_side + 1);
    cut_square(mt_u8(keep) + i * size[0] * size[1], size, y - side / 2, x - side / 2, side);
  }
  return keep;
}

static int64_t count_masked(const uint8_t *keep, int64_t count) {
  int64_t masked = 0;
  for (int64_t i = 0; i < count; i++) masked += keep[i] == 0;
  return masked;
}

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

static void cut_area(uint8_t *keep, int64_t height, int64_t width, int64_t area, mt_rng *rng) {
  if (area == 0) return;
  int64_t columns = smaller((int64_t)ceil(sqrt((double)area)), width);
  if (divide_up(area, columns) > height) columns = divide_up(area, height);
  const int64_t rows = divide_up(area, columns);
  const int64_t top = below(rng, height - rows + 1), left = below(rng, width - columns + 1);
  for (int64_t row = 0; row < rows; row++)
    memset(keep + (top + row) * width + left, 0, (size_t)smaller(columns, area - row * columns));
}

mt_tensor *mt_random_same_area(const mt_tensor *keep, mt_rng *rng) {
  if (mt_expect_dtype(keep, MT_UINT8, "random", "keep") < 0 || mt_expect_ndim(keep, 3, "random", "keep", "{N,H,W}") < 0)
    return NULL;
  const int64_t n = keep->shape[0], height = keep->shape[1], width = keep->shape[2], size = height * width;
  mt_tensor *masks = keep_all(n, height, width);
  if (!masks) return NULL;
  for (int64_t i = 0; i < n; i++)
    cut_area(mt_u8(masks) + i * size, height, width, count_masked(mt_u8(keep) + i * size, size), rng);
  return masks;
}
