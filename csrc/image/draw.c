#include "image/draw.h"

#include <stdlib.h>
#include <string.h>

static int check_canvas(const mt_tensor *canvas, const char *op) {
  char text[MT_SHAPE_TEXT];
  if (mt_expect_dtype(canvas, MT_UINT8, op, "canvas") < 0) return -1;
  if (canvas->ndim == 3 && canvas->shape[2] == 3) return 0;
  return mt_fail(MT_ERROR_ARGUMENT, "%s: canvas has shape %s, expected {H,W,3}", op,
                 mt_shape_text(canvas->ndim, canvas->shape, text));
}

static int64_t clip(int64_t value, int64_t high) { return value < 0 ? 0 : value > high ? high : value; }

/* The one way in which pixels get their colour. */
static void fill(mt_tensor *canvas, int64_t x, int64_t y, int64_t width, int64_t height, const uint8_t color[3]) {
  const int64_t left = clip(x, canvas->shape[1]), right = clip(x + width, canvas->shape[1]);
  const int64_t top = clip(y, canvas->shape[0]), bottom = clip(y + height, canvas->shape[0]);
  for (int64_t row = top; row < bottom; row++) {
    uint8_t *at = mt_u8(canvas) + (row * canvas->shape[1] + left) * 3;
    for (int64_t column = left; column < right; column++, at += 3) memcpy(at, color, 3);
  }
}

int mt_fill_rect(mt_tensor *canvas, int64_t x, int64_t y, int64_t width, int64_t height, const uint8_t color[3]) {
  if (check_canvas(canvas, "fill_rect") < 0) return -1;
  fill(canvas, x, y, width, height, color);
  mt_touch(canvas);
  return 0;
}

/* ---- lines ---- */

/* The part of t in [0,1] for which lo <= from + t * (to - from) <= hi, cut out of [*first, *last]; false when empty. */
static bool clip_parameter(double from, double to, double lo, double hi, double *first, double *last) {
  const double delta = to - from;
  if (delta == 0.0) return from >= lo && from <= hi;
  const double at_lo = (lo - from) / delta, at_hi = (hi - from) / delta;
  const double enter = at_lo < at_hi ? at_lo : at_hi, leave = at_lo < at_hi ? at_hi : at_lo;
  if (enter > *first) *first = enter;
  if (leave < *last) *last = leave;
  return *first <= *last;
}

static int64_t round_to_pixel(double value) { return (int64_t)(value < 0.0 ? value - 0.5 : value + 0.5); }

int mt_draw_line(mt_tensor *canvas, int64_t x0, int64_t y0, int64_t x1, int64_t y1, int64_t thickness,
                 const uint8_t color[3]) {
  if (check_canvas(canvas, "draw_line") < 0) return -1;
  const int64_t dx = x1 - x0, dy = y1 - y0;
  const int64_t steps = llabs(dx) > llabs(dy) ? llabs(dx) : llabs(dy);
  const double reach = (double)thickness;
  double first = 0.0, last = 1.0;
  /* Only the steps whose pen can touch the canvas are walked: the ends may be far outside. */
  if (!clip_parameter((double)x0, (double)x1, -reach, (double)canvas->shape[1] + reach, &first, &last) ||
      !clip_parameter((double)y0, (double)y1, -reach, (double)canvas->shape[0] + reach, &first, &last))
    return 0;
  const int64_t end = (int64_t)(last * (double)steps) + 1;
  for (int64_t i = (int64_t)(first * (double)steps); i <= steps && i <= end; i++) {
    const double t = steps ? (double)i / (double)steps : 0.0;
    const int64_t x = x0 + round_to_pixel(t * (double)dx), y = y0 + round_to_pixel(t * (double)dy);
    fill(canvas, x - thickness / 2, y - thickness / 2, thickness, thickness, color);
  }
  mt_touch(canvas);
  return 0;
}

/* ---- images ---- */

int mt_paste(mt_tensor *canvas, const mt_tensor *image, int64_t x, int64_t y, int64_t scale) {
  char text[MT_SHAPE_TEXT];
  if (check_canvas(canvas, "paste") < 0 || mt_expect_dtype(image, MT_UINT8, "paste", "image") < 0) return -1;
  const int64_t channels = image->ndim == 3 ? image->shape[2] : 1;
  if (image->ndim < 2 || image->ndim > 3 || (channels != 1 && channels != 3))
    return mt_fail(MT_ERROR_ARGUMENT, "paste: image has shape %s, expected {H,W}, {H,W,1} or {H,W,3}",
                   mt_shape_text(image->ndim, image->shape, text));
  const int64_t height = image->shape[0], width = image->shape[1];
  if (height > MT_DRAW_LIMIT || width > MT_DRAW_LIMIT)
    return mt_fail(MT_ERROR_ARGUMENT, "paste: image has shape %s, expected at most %lld pixels a side",
                   mt_shape_text(image->ndim, image->shape, text), (long long)MT_DRAW_LIMIT);
  for (int64_t row = 0; row < height; row++) {
    for (int64_t column = 0; column < width; column++) {
      const uint8_t *pixel = mt_u8(image) + (row * width + column) * channels;
      const uint8_t color[3] = {pixel[0], pixel[channels == 3 ? 1 : 0], pixel[channels == 3 ? 2 : 0]};
      fill(canvas, x + column * scale, y + row * scale, scale, scale, color);
    }
  }
  mt_touch(canvas);
  return 0;
}
