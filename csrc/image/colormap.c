#include "image/colormap.h"

#include <math.h>
#include <string.h>

#include "image/pixels.h"
#include "image/resize.h"

#define TABLE_SIZE 256

/* Polynomials in the value, constant term first, one row per channel. */
typedef struct {
  double coefficients[3][7];
} polynomial;

static const polynomial polynomials[] = {
    /* Fit of degree 6 to Matplotlib's viridis, M. Zucker, shadertoy.com/view/WlfXRN (CC0). */
    [MT_COLORMAP_VIRIDIS] = {{
        {0.2777273272234177, 0.1050930431085774, -0.3308618287255563, -4.634230498983486, 6.228269936347081,
         4.776384997670288, -5.435455855934631},
        {0.005407344544966578, 1.404613529898575, 0.214847559468213, -5.799100973351585, 14.17993336680509,
         -13.74514537774601, 4.645852612178535},
        {0.3340998053353061, 1.384590162594685, 0.09509516302823659, -19.33244095627987, 56.69055260068105,
         -65.35303263337234, 26.3124352495832},
    }},
    /* Fit of degree 5 to turbo, A. Mikhailov, Google AI blog 2019 (Apache-2.0). */
    [MT_COLORMAP_TURBO] = {{
        {0.13572138, 4.61539260, -42.66032258, 132.13108234, -152.94239396, 59.28637943},
        {0.09140261, 2.19418839, 4.84296658, -14.18503333, 4.27729857, 2.82956604},
        {0.10667330, 12.64194608, -60.58204836, 110.36276771, -89.90310912, 27.34824973},
    }},
    [MT_COLORMAP_GRAY] = {{{0.0, 1.0}, {0.0, 1.0}, {0.0, 1.0}}},
};

static uint8_t evaluate(const double coefficients[7], double x) {
  double value = 0.0;
  for (int i = 6; i >= 0; i--) value = value * x + coefficients[i];
  return (uint8_t)(fmin(fmax(value, 0.0), 1.0) * 255.0 + 0.5);
}

void mt_colormap_at(mt_colormap map, float value, uint8_t rgb[3]) {
  memset(rgb, 0, 3);
  if (isnan(value)) return;
  const double x = fmin(fmax(value, 0.0), 1.0);
  for (int c = 0; c < 3; c++) rgb[c] = evaluate(polynomials[map].coefficients[c], x);
}

/* ---- heat to colours ---- */

static void find_range(const float *heat, int64_t count, float range[2]) {
  range[0] = INFINITY;
  range[1] = -INFINITY;
  for (int64_t i = 0; i < count; i++) {
    if (!isfinite(heat[i])) continue;
    range[0] = fminf(range[0], heat[i]);
    range[1] = fmaxf(range[1], heat[i]);
  }
}

static void colorize_plane(const float *heat, int64_t count, const float *given_range,
                           const uint8_t table[TABLE_SIZE][3], uint8_t *to) {
  float range[2];
  if (given_range)
    memcpy(range, given_range, sizeof range);
  else
    find_range(heat, count, range);
  const float scale = range[1] > range[0] ? 1.0f / (range[1] - range[0]) : 0.0f;
  for (int64_t i = 0; i < count; i++, to += 3) {
    const float value = scale > 0.0f ? (heat[i] - range[0]) * scale : 0.0f;
    if (isnan(heat[i]))
      memset(to, 0, 3);
    else
      memcpy(to, table[(int)(fminf(fmaxf(value, 0.0f), 1.0f) * (TABLE_SIZE - 1) + 0.5f)], 3);
  }
}

static void fill_table(mt_colormap map, uint8_t table[TABLE_SIZE][3]) {
  for (int i = 0; i < TABLE_SIZE; i++) mt_colormap_at(map, (float)i / (TABLE_SIZE - 1), table[i]);
}

mt_tensor *mt_colorize(const mt_tensor *heat, mt_colormap map, const float range[2]) {
  uint8_t table[TABLE_SIZE][3];
  char text[MT_SHAPE_TEXT];
  if (mt_expect_dtype(heat, MT_FLOAT32, "colormap", "heat") < 0) return NULL;
  if (heat->ndim != 2 && heat->ndim != 3)
    return mt_fail_null(MT_ERROR_ARGUMENT, "colormap: heat has shape %s, expected {H,W} or {N,H,W}",
                        mt_shape_text(heat->ndim, heat->shape, text));
  int64_t shape[4] = {0};
  memcpy(shape, heat->shape, (size_t)heat->ndim * sizeof shape[0]);
  shape[heat->ndim] = 3;
  mt_tensor *colors = mt_tensor_new(MT_UINT8, heat->ndim + 1, shape);
  if (!colors) return NULL;
  fill_table(map, table);
  const int64_t planes = heat->ndim == 3 ? heat->shape[0] : 1;
  const int64_t size = heat->shape[heat->ndim - 2] * heat->shape[heat->ndim - 1];
  for (int64_t i = 0; i < planes; i++)
    colorize_plane(mt_f32(heat) + i * size, size, range, (const uint8_t(*)[3])table, mt_u8(colors) + 3 * i * size);
  return colors;
}

/* ---- heat over an image ---- */

static int check_overlay(const mt_tensor *image, const mt_tensor *heat) {
  char text[MT_SHAPE_TEXT], other[MT_SHAPE_TEXT];
  const int64_t channels = image->ndim ? image->shape[image->ndim - 1] : 0;
  if (image->ndim < 3 || image->ndim > 4 || (channels != 1 && channels != 3))
    return mt_fail(MT_ERROR_ARGUMENT, "overlay: image has shape %s, expected {H,W,C} or {N,H,W,C} with C 1 or 3",
                   mt_shape_text(image->ndim, image->shape, text));
  if (heat->ndim != image->ndim - 1 || (heat->ndim == 3 && heat->shape[0] != image->shape[0]))
    return mt_fail(MT_ERROR_ARGUMENT, "overlay: heat has shape %s, expected a plane for each image of %s",
                   mt_shape_text(heat->ndim, heat->shape, text), mt_shape_text(image->ndim, image->shape, other));
  return 0;
}

/* colors becomes the mixture. */
static void mix(const mt_tensor *image, float alpha, mt_tensor *colors) {
  const int64_t channels = image->shape[image->ndim - 1], pixels = colors->count / 3;
  uint8_t *color = mt_u8(colors);
  for (int64_t i = 0; i < pixels; i++) {
    const uint8_t *from = mt_u8(image) + i * channels;
    for (int c = 0; c < 3; c++, color++)
      *color = (uint8_t)(alpha * (float)*color + (1.0f - alpha) * (float)from[channels == 1 ? 0 : c] + 0.5f);
  }
}

/* image: uint8, checked. */
static mt_tensor *overlay(const mt_tensor *image, const mt_tensor *heat, float alpha, mt_colormap map,
                          const float range[2]) {
  const int64_t size[2] = {image->shape[image->ndim - 3], image->shape[image->ndim - 2]};
  mt_tensor *resized = mt_resize(heat, heat->ndim - 2, size, MT_RESIZE_BILINEAR);
  if (!resized) return NULL;
  mt_tensor *colors = mt_colorize(resized, map, range);
  mt_release(resized);
  if (colors) mix(image, alpha, colors);
  return colors;
}

mt_tensor *mt_overlay(mt_tensor *image, const mt_tensor *heat, float alpha, mt_colormap map, const float range[2]) {
  if (check_overlay(image, heat) < 0) return NULL;
  mt_tensor *bytes = mt_as_bytes(image, "overlay");
  mt_tensor *result = bytes ? overlay(bytes, heat, alpha, map, range) : NULL;
  mt_release(bytes);
  return result;
}
