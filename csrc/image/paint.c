#include "image/paint.h"

#include <string.h>

#include "core/threads.h"

static int check_paint(const mt_tensor *gray, const mt_tensor *marked, const mt_paint *paint) {
  if (mt_expect_dtype(gray, MT_UINT8, "paint", "images") < 0) return -1;
  if (mt_expect_ndim(gray, 4, "paint", "images", "N,H,W,1") < 0) return -1;
  if (gray->shape[3] != 1)
    return mt_fail(MT_ERROR_ARGUMENT, "paint: images has %lld channels, expected 1", (long long)gray->shape[3]);
  if (mt_expect_dtype(marked, MT_UINT8, "paint", "marked") < 0) return -1;
  if (mt_expect_shape(marked, 1, gray->shape, "paint", "marked") < 0) return -1;
  const int64_t side = gray->shape[1] < gray->shape[2] ? gray->shape[1] : gray->shape[2];
  if (paint->kind == MT_PAINT_SQUARES && (paint->size < 1 || paint->size > side))
    return mt_fail(MT_ERROR_ARGUMENT, "paint: size is %lld, expected 1 to %lld (the images' smaller side)",
                   (long long)paint->size, (long long)side);
  return 0;
}

static void repeat_channels(const uint8_t *gray, int64_t pixels, uint8_t *rgb) {
  for (int64_t p = 0; p < pixels; p++) rgb[3 * p] = rgb[3 * p + 1] = rgb[3 * p + 2] = gray[p];
}

static void paint_square(uint8_t *rgb, int64_t width, int64_t left, const mt_paint *paint) {
  for (int64_t y = 0; y < paint->size; y++)
    for (int64_t x = left; x < left + paint->size; x++) memcpy(rgb + 3 * (y * width + x), paint->color, 3);
}

static void paint_where(const uint8_t *gray, int64_t pixels, bool foreground, const uint8_t color[3], uint8_t *rgb) {
  for (int64_t p = 0; p < pixels; p++)
    if ((gray[p] > 0) == foreground) memcpy(rgb + 3 * p, color, 3);
}

static void paint_image(const uint8_t *gray, int64_t height, int64_t width, const mt_paint *paint, uint8_t *rgb) {
  if (paint->kind != MT_PAINT_SQUARES) {
    paint_where(gray, height * width, paint->kind == MT_PAINT_FOREGROUND, paint->color, rgb);
    return;
  }
  paint_square(rgb, width, 0, paint);
  if (paint->squares == 2) paint_square(rgb, width, width - paint->size, paint);
}

typedef struct {
  const uint8_t *gray, *marked;
  int64_t height, width;
  const mt_paint *paint;
  uint8_t *rgb;
} painting;

static void paint_range(const void *context, int64_t begin, int64_t end) {
  const painting *p = context;
  const int64_t pixels = p->height * p->width;
  for (int64_t n = begin; n < end; n++) {
    const uint8_t *from = p->gray + n * pixels;
    uint8_t *to = p->rgb + 3 * n * pixels;
    repeat_channels(from, pixels, to);
    if (p->marked[n]) paint_image(from, p->height, p->width, p->paint, to);
  }
}

mt_tensor *mt_paint_images(const mt_tensor *gray, const mt_tensor *marked, const mt_paint *paint) {
  if (check_paint(gray, marked, paint) < 0) return NULL;
  const int64_t count = gray->shape[0], height = gray->shape[1], width = gray->shape[2];
  mt_tensor *rgb = mt_tensor_new(MT_UINT8, 4, (const int64_t[]){count, height, width, 3});
  if (!rgb) return NULL;
  mt_parallel(count, mt_chunk(count, height * width, 1 << 16), paint_range,
              &(painting){mt_u8(gray), mt_u8(marked), height, width, paint, mt_u8(rgb)});
  return rgb;
}
