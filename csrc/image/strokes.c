#include "image/strokes.h"

#include <math.h>

#include "core/threads.h"

typedef struct {
  float x0, y0, x1, y1, radius;
} segment;

static int check_starts(const mt_tensor *starts, int64_t segments) {
  const int32_t *at = mt_i32(starts);
  const int64_t images = starts->count - 1;
  if (images < 0) return mt_fail(MT_ERROR_ARGUMENT, "draw_strokes: starts is empty, expected one more than images");
  if (at[0] != 0 || at[images] != segments)
    return mt_fail(MT_ERROR_ARGUMENT, "draw_strokes: starts goes from %d to %d, expected 0 to %lld (the segments)",
                   at[0], at[images], (long long)segments);
  for (int64_t n = 0; n < images; n++)
    if (at[n + 1] < at[n])
      return mt_fail(MT_ERROR_ARGUMENT, "draw_strokes: starts falls from %d to %d, expected ascending values", at[n],
                     at[n + 1]);
  return 0;
}

static int check_strokes(const mt_tensor *segments, const mt_tensor *starts) {
  if (mt_expect_dtype(segments, MT_FLOAT32, "draw_strokes", "segments") < 0) return -1;
  if (mt_expect_ndim(segments, 2, "draw_strokes", "segments", "S,5") < 0) return -1;
  if (mt_expect_shape(segments, 2, (const int64_t[]){segments->shape[0], 5}, "draw_strokes", "segments") < 0) return -1;
  if (mt_expect_dtype(starts, MT_INT32, "draw_strokes", "starts") < 0) return -1;
  if (mt_expect_ndim(starts, 1, "draw_strokes", "starts", "N+1") < 0) return -1;
  return check_starts(starts, segments->shape[0]);
}

static float distance_to(const segment *s, float x, float y) {
  const float dx = s->x1 - s->x0, dy = s->y1 - s->y0, length2 = dx * dx + dy * dy;
  float along = length2 > 0 ? ((x - s->x0) * dx + (y - s->y0) * dy) / length2 : 0;
  along = along < 0 ? 0 : along > 1 ? 1 : along;
  const float rx = x - (s->x0 + along * dx), ry = y - (s->y0 + along * dy);
  return sqrtf(rx * rx + ry * ry);
}

/* The pixel's share covered by ink. A NaN compares false and leaves no ink, so the cast below is always defined. */
static float coverage(const segment *segments, int64_t count, float x, float y) {
  float most = 0;
  for (int64_t s = 0; s < count; s++) {
    const float share = segments[s].radius + 0.5f - distance_to(&segments[s], x, y);
    if (share > most) most = share;
  }
  return most < 1 ? most : 1;
}

typedef struct {
  const segment *segments;
  const int32_t *starts; /* of each image */
  int64_t height, width;
  uint8_t *out;
} drawing;

static void draw_images(const void *context, int64_t begin, int64_t end) {
  const drawing *d = context;
  const int64_t width = d->width, pixels = d->height * width;
  const int32_t *at = d->starts;
  for (int64_t n = begin; n < end; n++)
    for (int64_t p = 0; p < pixels; p++)
      d->out[n * pixels + p] =
          (uint8_t)(255 * coverage(d->segments + at[n], at[n + 1] - at[n], (float)(p % width), (float)(p / width)) +
                    0.5f);
}

mt_tensor *mt_draw_strokes(const mt_tensor *segments, const mt_tensor *starts, int64_t height, int64_t width) {
  if (check_strokes(segments, starts) < 0) return NULL;
  const int64_t images = starts->count - 1;
  mt_tensor *out = mt_tensor_new(MT_UINT8, 4, (const int64_t[]){images, height, width, 1});
  if (!out) return NULL;
  mt_parallel(images, mt_chunk(images, height * width, 1 << 13), draw_images,
              &(drawing){segments->data, mt_i32(starts), height, width, mt_u8(out)});
  return out;
}
