#include "image/color.h"

#include <math.h>

/* NaN stays. */
static float unit(float value) { return value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value; }

static float gray_of(const float *pixel, int64_t channels) {
  return channels == 1 ? pixel[0] : 0.2989f * pixel[0] + 0.587f * pixel[1] + 0.114f * pixel[2];
}

static void brighten(float *image, int64_t count, float factor) {
  for (int64_t i = 0; i < count; i++) image[i] = unit(factor * image[i]);
}

static void change_contrast(float *image, int64_t pixels, int64_t channels, float factor) {
  double sum = 0.0;
  for (int64_t i = 0; i < pixels; i++) sum += gray_of(image + i * channels, channels);
  const float mean = (float)(sum / (double)pixels);
  for (int64_t i = 0; i < pixels * channels; i++) image[i] = unit(factor * image[i] + (1.0f - factor) * mean);
}

static void saturate(float *image, int64_t pixels, float factor) {
  for (int64_t i = 0; i < pixels; i++, image += 3) {
    const float gray = gray_of(image, 3);
    for (int c = 0; c < 3; c++) image[c] = unit(factor * image[c] + (1.0f - factor) * gray);
  }
}

/* ---- hue ---- */

/* Hue in [0,1), saturation, value. */
static void to_hsv(const float rgb[3], float hsv[3]) {
  const float high = fmaxf(fmaxf(rgb[0], rgb[1]), rgb[2]), low = fminf(fminf(rgb[0], rgb[1]), rgb[2]);
  const float range = high - low, divisor = range > 0.0f ? range : 1.0f;
  float sixths;
  if (high == rgb[0])
    sixths = (rgb[1] - rgb[2]) / divisor;
  else if (high == rgb[1])
    sixths = 2.0f + (rgb[2] - rgb[0]) / divisor;
  else
    sixths = 4.0f + (rgb[0] - rgb[1]) / divisor;
  hsv[0] = fmodf(sixths / 6.0f + 1.0f, 1.0f);
  hsv[1] = range > 0.0f ? range / high : 0.0f;
  hsv[2] = high;
}

static void to_rgb(const float hsv[3], float rgb[3]) {
  static const int order[6][3] = {{0, 3, 1}, {2, 0, 1}, {1, 0, 3}, {1, 2, 0}, {3, 1, 0}, {0, 1, 2}};
  const float sixths = hsv[0] * 6.0f, whole = floorf(sixths), rest = sixths - whole;
  const float levels[4] = {hsv[2], unit(hsv[2] * (1.0f - hsv[1])), unit(hsv[2] * (1.0f - hsv[1] * rest)),
                           unit(hsv[2] * (1.0f - hsv[1] * (1.0f - rest)))};
  const int sector = whole >= 0.0f && whole < 6.0f ? (int)whole : 0;
  for (int c = 0; c < 3; c++) rgb[c] = levels[order[sector][c]];
}

static void turn_hue(float *image, int64_t pixels, float turn) {
  for (int64_t i = 0; i < pixels; i++, image += 3) {
    float hsv[3];
    if (!(isfinite(image[0]) && isfinite(image[1]) && isfinite(image[2]))) continue;
    to_hsv(image, hsv);
    hsv[0] = hsv[0] + turn - floorf(hsv[0] + turn);
    to_rgb(hsv, image);
  }
}

void mt_change_color(float *image, int64_t pixels, int64_t channels, mt_color_change change, float amount) {
  if (change == MT_BRIGHTNESS)
    brighten(image, pixels * channels, amount);
  else if (change == MT_CONTRAST)
    change_contrast(image, pixels, channels, amount);
  else if (change == MT_SATURATION && channels == 3)
    saturate(image, pixels, amount);
  else if (change == MT_HUE && channels == 3)
    turn_hue(image, pixels, amount);
}
