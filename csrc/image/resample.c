#include "image/resample.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/kernels.h"

#define LINE 64 /* bytes of a line of the cache: vectors that do not cross its end load faster */

/* One axis: output pixel i is the sum over k < counts[i] of weights[i * most + k] times pixel firsts[i] + k. */
typedef struct {
  int64_t most;
  int64_t *firsts, *counts;
  float *weights;
} axis_taps;

/* ---- taps ---- */

static double reach(int64_t in, int64_t out) { return in > out ? (double)in / (double)out : 1.0; }

static double support(mt_filter filter) { return filter == MT_FILTER_CUBIC ? 2.0 : 1.0; }

static double weight_at(mt_filter filter, double x) {
  if (filter == MT_FILTER_TRIANGLE) return fmax(0.0, 1.0 - x);
  if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
  return x < 2.0 ? ((2.5 - 0.5 * x) * x - 4.0) * x + 2.0 : 0.0;
}

static int64_t most_taps(mt_filter filter, int64_t in, int64_t out) {
  const int64_t most = 2 * (int64_t)ceil(support(filter) * reach(in, out)) + 1;
  return most < in ? most : in;
}

static size_t axis_bytes(mt_filter filter, int64_t in, int64_t out) {
  const size_t weights = (size_t)(out * most_taps(filter, in, out)) * sizeof(float);
  return (size_t)out * 2 * sizeof(int64_t) + (weights + 7) / 8 * 8;
}

static char *place_axis(char *scratch, mt_filter filter, int64_t in, int64_t out, axis_taps *axis) {
  axis->most = most_taps(filter, in, out);
  axis->firsts = (int64_t *)(void *)scratch;
  axis->counts = axis->firsts + out;
  axis->weights = (float *)(void *)(axis->counts + out);
  return scratch + axis_bytes(filter, in, out);
}

static void fill_axis(axis_taps *axis, mt_filter filter, int64_t in, int64_t out) {
  const double scale = (double)in / (double)out, radius = reach(in, out), far = support(filter) * radius;
  for (int64_t i = 0; i < out; i++) {
    const double centre = ((double)i + 0.5) * scale;
    const double low = centre - far + 0.5, high = centre + far + 0.5;
    const int64_t first = low > 0.0 ? (int64_t)low : 0, end = high < (double)in ? (int64_t)high : in;
    float *weights = axis->weights + i * axis->most;
    double sum = 0.0;
    for (int64_t k = first; k < end; k++) sum += weight_at(filter, fabs((double)k + 0.5 - centre) / radius);
    for (int64_t k = first; k < end; k++)
      weights[k - first] = (float)(weight_at(filter, fabs((double)k + 0.5 - centre) / radius) / sum);
    axis->firsts[i] = first;
    axis->counts[i] = end - first;
  }
}

/* As narrow_row takes an axis: the same number of taps for every pixel, none beyond the row if it has as many pixels.
 */
typedef struct {
  int64_t taps;
  float *weights;
} even_taps;

static bool in_pairs(int64_t channels) { return channels == 3 || channels == 4; }

static size_t even_bytes(const mt_resample_shape *s) {
  const int64_t taps = most_taps(s->filter, s->box_width, s->width) + 1;
  return (size_t)(s->width * taps) * MT_RESAMPLE_PAIR / 2 * sizeof(float) + LINE;
}

static int64_t count_taps(const axis_taps *axis, int64_t out, int64_t channels) {
  int64_t taps = 1;
  for (int64_t i = 0; i < out; i++)
    if (axis->counts[i] > taps) taps = axis->counts[i];
  return in_pairs(channels) ? (taps + 1) / 2 * 2 : taps;
}

static void place_weight(float *weights, int64_t k, int64_t channels, float weight) {
  if (!in_pairs(channels)) {
    weights[k] = weight;
    return;
  }
  float *pair = weights + k / 2 * MT_RESAMPLE_PAIR + k % 2 * channels;
  for (int64_t c = 0; c < channels; c++) pair[c] = weight;
}

/* Moves the axis's firsts. */
static void even_out(even_taps *even, axis_taps *axis, const mt_resample_shape *s) {
  even->taps = count_taps(axis, s->width, s->channels);
  const int64_t each = in_pairs(s->channels) ? even->taps * MT_RESAMPLE_PAIR / 2 : even->taps;
  const int64_t last = s->box_width > even->taps ? s->box_width - even->taps : 0;
  memset(even->weights, 0, (size_t)(s->width * each) * sizeof *even->weights);
  for (int64_t i = 0; i < s->width; i++) {
    const int64_t moved = axis->firsts[i] > last ? axis->firsts[i] - last : 0;
    for (int64_t k = 0; k < axis->counts[i]; k++)
      place_weight(even->weights + i * each, k + moved, s->channels, axis->weights[i * axis->most + k]);
    axis->firsts[i] -= moved;
  }
}

/* ---- pixels ---- */

static size_t row_bytes(int64_t width, int64_t channels) {
  return ((size_t)(width * channels + MT_RESAMPLE_BEHIND) * sizeof(float) + 7) / 8 * 8;
}

size_t mt_resample_scratch(const mt_resample_shape *s) {
  const size_t wide = row_bytes(s->width, s->channels), blended = row_bytes(s->box_width, s->channels);
  return axis_bytes(s->filter, s->box_height, s->height) + axis_bytes(s->filter, s->box_width, s->width) +
         even_bytes(s) + wide + (wide > blended ? wide : blended);
}

static uint8_t nearest_byte(float value) {
  if (value <= 0.0f) return 0;
  return value < 255.0f ? (uint8_t)(value + 0.5f) : 255;
}

/* What a row is once it is narrowed: added to a sum, or, where that may have to be clamped, stored. */
#define DEFINE_RESAMPLE(name, type, store)                                                                         \
  static void add_row_##type(const type *from, const axis_taps *columns, const mt_resample_shape *s, float weight, \
                             float *sum) {                                                                         \
    for (int64_t x = 0; x < s->width; x++, sum += s->channels) {                                                   \
      const type *pixel = from + columns->firsts[x] * s->channels;                                                 \
      const float *weights = columns->weights + x * columns->most;                                                 \
      for (int64_t k = 0; k < columns->counts[x]; k++, pixel += s->channels)                                       \
        for (int64_t c = 0; c < s->channels; c++) sum[c] += weight * weights[k] * (float)pixel[c];                 \
    }                                                                                                              \
  }                                                                                                                \
  static void add_clamped_row_##type(const type *from, const axis_taps *columns, const mt_resample_shape *s,       \
                                     float weight, float *sum, float *row) {                                       \
    const int64_t row_size = s->width * s->channels;                                                               \
    memset(row, 0, (size_t)row_size * sizeof *row);                                                                \
    add_row_##type(from, columns, s, 1.0f, row);                                                                   \
    for (int64_t i = 0; i < row_size; i++) sum[i] += weight * (float)store(row[i]);                                \
  }                                                                                                                \
  /* Rows are narrowed as they are needed, so that the scratch memory holds a row or two and never an image. */    \
  static void name(const type *from, const mt_resample_shape *s, type *to, void *scratch) {                        \
    axis_taps rows, columns;                                                                                       \
    const int64_t row_size = s->width * s->channels;                                                               \
    char *rest = place_axis(scratch, s->filter, s->box_height, s->height, &rows);                                  \
    float *sum = (float *)(void *)place_axis(rest, s->filter, s->box_width, s->width, &columns);                   \
    float *row = (float *)(void *)((char *)sum + row_bytes(s->width, s->channels));                                \
    fill_axis(&rows, s->filter, s->box_height, s->height);                                                         \
    fill_axis(&columns, s->filter, s->box_width, s->width);                                                        \
    for (int64_t y = 0; y < s->height; y++, to += row_size) {                                                      \
      memset(sum, 0, (size_t)row_size * sizeof *sum);                                                              \
      for (int64_t k = 0; k < rows.counts[y]; k++) {                                                               \
        const type *source = from + (rows.firsts[y] + k) * s->stride;                                              \
        const float weight = rows.weights[y * rows.most + k];                                                      \
        if (s->filter == MT_FILTER_CUBIC)                                                                          \
          add_clamped_row_##type(source, &columns, s, weight, sum, row);                                           \
        else                                                                                                       \
          add_row_##type(source, &columns, s, weight, sum);                                                        \
      }                                                                                                            \
      for (int64_t i = 0; i < row_size; i++) to[i] = (type)store(sum[i]);                                          \
    }                                                                                                              \
  }
#define KEEP(value) (value)
DEFINE_RESAMPLE(row_by_row_f32, float, KEEP)
DEFINE_RESAMPLE(row_by_row_u8, uint8_t, nearest_byte)

/* Weights that are never negative need no clamping, so the heights can come first. */
static void columns_first(const uint8_t *from, const mt_resample_shape *s, uint8_t *to, void *scratch) {
  axis_taps rows, columns;
  char *rest = place_axis(scratch, s->filter, s->box_height, s->height, &rows);
  rest = place_axis(rest, s->filter, s->box_width, s->width, &columns);
  even_taps even = {0, (float *)(void *)(rest + (LINE - (uintptr_t)rest % LINE))};
  float *wide = (float *)(void *)(rest + even_bytes(s));
  float *blended = (float *)(void *)((char *)wide + row_bytes(s->width, s->channels));
  fill_axis(&rows, s->filter, s->box_height, s->height);
  fill_axis(&columns, s->filter, s->box_width, s->width);
  even_out(&even, &columns, s);
  memset(blended + s->box_width * s->channels, 0, MT_RESAMPLE_BEHIND * sizeof *blended);
  for (int64_t y = 0; y < s->height; y++, to += s->width * s->channels) {
    mt_kernels->blend_rows(blended, from + rows.firsts[y] * s->stride, s->stride, rows.weights + y * rows.most,
                           rows.counts[y], s->box_width * s->channels);
    mt_kernels->narrow_row(to, wide, blended, columns.firsts, even.weights, even.taps, s->width, s->channels);
  }
}

static bool is_copy(const mt_resample_shape *s) { return s->width == s->box_width && s->height == s->box_height; }

void mt_resample_u8(const uint8_t *from, const mt_resample_shape *s, uint8_t *to, void *scratch) {
  const int64_t row_size = s->width * s->channels;
  if (is_copy(s))
    for (int64_t y = 0; y < s->height; y++) memcpy(to + y * row_size, from + y * s->stride, (size_t)row_size);
  else if (s->filter == MT_FILTER_CUBIC)
    row_by_row_u8(from, s, to, scratch);
  else
    columns_first(from, s, to, scratch);
}

void mt_resample_f32(const float *from, const mt_resample_shape *s, float *to, void *scratch) {
  row_by_row_f32(from, s, to, scratch);
}
