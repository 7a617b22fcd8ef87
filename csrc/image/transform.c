#include "image/transform.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/threads.h"
#include "image/color.h"
#include "image/resample.h"

#define PARALLEL_FROM ((int64_t)1 << 14) /* values; below, starting threads costs more than they save */

/* ---- sizes ---- */

static bool is_crop(mt_transform_kind kind) { return kind == MT_TRANSFORM_CROP || kind == MT_TRANSFORM_RESIZED_CROP; }

mt_image_size mt_transform_size(const mt_transform *t, mt_image_size size) {
  if (is_crop(t->kind)) return (mt_image_size){t->crop.height, t->crop.width, size.channels};
  return size;
}

static mt_resample_shape resampling_of(const mt_transform *t, mt_image_size size) {
  return (mt_resample_shape){
      t->crop.height, t->crop.width,     t->crop.box.height, t->crop.box.width, size.width * size.channels,
      size.channels,  MT_FILTER_TRIANGLE};
}

size_t mt_transform_scratch(const mt_transform *t, mt_image_size size) {
  if (t->kind != MT_TRANSFORM_RESIZED_CROP) return 0;
  const mt_resample_shape shape = resampling_of(t, size);
  return mt_resample_scratch(&shape);
}

/* ---- one image each ---- */

static void flip(const float *from, mt_image_size size, float *to) {
  for (int64_t y = 0; y < size.height; y++)
    for (int64_t x = size.width - 1; x >= 0; x--, to += size.channels)
      memcpy(to, from + (y * size.width + x) * size.channels, (size_t)size.channels * sizeof *to);
}

/* The pixel, or NULL where it is outside. */
static const float *pixel_at(const float *from, mt_image_size size, double y, double x) {
  if (!(y >= 0.0 && y < (double)size.height && x >= 0.0 && x < (double)size.width)) return NULL;
  return from + ((int64_t)y * size.width + (int64_t)x) * size.channels;
}

static void take_nearest(const float *from, mt_image_size size, double y, double x, float *to) {
  const float *pixel = pixel_at(from, size, nearbyint(y), nearbyint(x));
  for (int64_t c = 0; c < size.channels; c++) to[c] = pixel ? pixel[c] : 0.0f;
}

static void take_bilinear(const float *from, mt_image_size size, double y, double x, float *to) {
  const double top = floor(y), left = floor(x);
  const float down = (float)(y - top), right = (float)(x - left);
  for (int64_t c = 0; c < size.channels; c++) to[c] = 0.0f;
  for (int corner = 0; corner < 4; corner++) {
    const int dy = corner >> 1, dx = corner & 1;
    const float *pixel = pixel_at(from, size, top + dy, left + dx);
    const float weight = (dy ? down : 1.0f - down) * (dx ? right : 1.0f - right);
    for (int64_t c = 0; pixel && c < size.channels; c++) to[c] += weight * pixel[c];
  }
}

/* Walks the result and looks back: the inverse of turning and then shifting, about the middle of the image. */
static void affine(const mt_transform *t, const float *from, mt_image_size size, float *to) {
  const double radians = t->affine.angle * (3.14159265358979323846 / 180.0);
  const double cosine = cos(radians), sine = sin(radians);
  const double middle_y = (double)(size.height - 1) / 2.0, middle_x = (double)(size.width - 1) / 2.0;
  for (int64_t i = 0; i < size.height; i++) {
    const double y = (double)i - middle_y - t->affine.shift[0];
    for (int64_t j = 0; j < size.width; j++, to += size.channels) {
      const double x = (double)j - middle_x - t->affine.shift[1];
      const double from_y = cosine * y - sine * x + middle_y, from_x = cosine * x + sine * y + middle_x;
      if (t->affine.bilinear)
        take_bilinear(from, size, from_y, from_x, to);
      else
        take_nearest(from, size, from_y, from_x, to);
    }
  }
}

static int64_t clip(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

static void crop(const mt_box *box, const float *from, mt_image_size size, float *to) {
  const int64_t channels = size.channels;
  const int64_t first = clip(box->left, 0, size.width), end = clip(box->left + box->width, first, size.width);
  memset(to, 0, (size_t)(box->height * box->width * channels) * sizeof *to);
  for (int64_t row = 0; row < box->height; row++, to += box->width * channels) {
    const int64_t y = box->top + row;
    if (y < 0 || y >= size.height || first == end) continue;
    memcpy(to + (first - box->left) * channels, from + (y * size.width + first) * channels,
           (size_t)((end - first) * channels) * sizeof *to);
  }
}

static void resized_crop(const mt_transform *t, const float *from, mt_image_size size, float *to, void *scratch) {
  const mt_resample_shape shape = resampling_of(t, size);
  mt_resample_f32(from + (t->crop.box.top * size.width + t->crop.box.left) * size.channels, &shape, to, scratch);
}

static void color(const mt_transform *t, const float *from, mt_image_size size, float *to) {
  const int64_t pixels = size.height * size.width;
  memcpy(to, from, (size_t)(pixels * size.channels) * sizeof *to);
  for (int i = 0; i < t->color.count; i++)
    mt_change_color(to, pixels, size.channels, t->color.order[i], t->color.amount[t->color.order[i]]);
}

static void normalize(const mt_transform *t, const float *from, mt_image_size size, float *to) {
  for (int64_t i = size.height * size.width; i > 0; i--)
    for (int64_t c = 0; c < size.channels; c++) *to++ = (*from++ - t->normalize.mean[c]) / t->normalize.std[c];
}

void mt_transform_apply(const mt_transform *t, const float *from, mt_image_size size, float *to, void *scratch) {
  switch (t->kind) {
    case MT_TRANSFORM_FLIP:
      flip(from, size, to);
      break;
    case MT_TRANSFORM_AFFINE:
      affine(t, from, size, to);
      break;
    case MT_TRANSFORM_CROP:
      crop(&t->crop.box, from, size, to);
      break;
    case MT_TRANSFORM_RESIZED_CROP:
      resized_crop(t, from, size, to, scratch);
      break;
    case MT_TRANSFORM_COLOR:
      color(t, from, size, to);
      break;
    case MT_TRANSFORM_NORMALIZE:
      normalize(t, from, size, to);
      break;
  }
}

/* ---- tensors ---- */

static int check_box(const char *op, const mt_transform *t, const mt_tensor *images) {
  const mt_box *box = &t->crop.box;
  if (t->kind == MT_TRANSFORM_CROP) return 0;
  if (box->top >= 0 && box->left >= 0 && box->top + box->height <= images->shape[1] &&
      box->left + box->width <= images->shape[2])
    return 0;
  return mt_fail(MT_ERROR_ARGUMENT,
                 "%s: the box is rows %lld to %lld, columns %lld to %lld, expected one inside %lld x %lld", op,
                 (long long)box->top, (long long)(box->top + box->height), (long long)box->left,
                 (long long)(box->left + box->width), (long long)images->shape[1], (long long)images->shape[2]);
}

static int check_images(const char *op, const mt_transform *t, const mt_tensor *images) {
  char text[MT_SHAPE_TEXT];
  if (mt_expect_dtype(images, MT_FLOAT32, op, "images") < 0 || mt_expect_ndim(images, 4, op, "images", "{N,H,W,C}") < 0)
    return -1;
  if (images->shape[1] < 1 || images->shape[2] < 1 || images->shape[1] > MT_TRANSFORM_MAX_SIDE ||
      images->shape[2] > MT_TRANSFORM_MAX_SIDE)
    return mt_fail(MT_ERROR_ARGUMENT, "%s: images has shape %s, expected 1 to %lld pixels a side", op,
                   mt_shape_text(4, images->shape, text), (long long)MT_TRANSFORM_MAX_SIDE);
  if (t->kind == MT_TRANSFORM_COLOR && images->shape[3] != 1 && images->shape[3] != 3)
    return mt_fail(MT_ERROR_ARGUMENT, "%s: images has shape %s, expected 1 or 3 channels", op,
                   mt_shape_text(4, images->shape, text));
  return is_crop(t->kind) ? check_box(op, t, images) : 0;
}

typedef struct {
  const mt_transform *transform;
  mt_image_size size;
  const float *from;
  float *to;
  int64_t from_count, to_count;
  char *scratch; /* scratch_size of each worker */
  size_t scratch_size;
} transform_work;

static void transform_range(const void *context, int64_t begin, int64_t end) {
  const transform_work *w = context;
  for (int64_t i = begin; i < end; i++)
    mt_transform_apply(w->transform, w->from + i * w->from_count, w->size, w->to + i * w->to_count,
                       w->scratch + w->scratch_size * (size_t)mt_worker());
}

mt_tensor *mt_transform_images(const char *op, const mt_tensor *images, const mt_transform *t) {
  if (check_images(op, t, images) < 0) return NULL;
  const mt_image_size size = {images->shape[1], images->shape[2], images->shape[3]};
  const mt_image_size new_size = mt_transform_size(t, size);
  const int64_t shape[4] = {images->shape[0], new_size.height, new_size.width, new_size.channels};
  const int64_t count = size.height * size.width * size.channels, new_count = shape[1] * shape[2] * shape[3];
  const size_t scratch_size = mt_transform_scratch(t, size);
  mt_tensor *changed = mt_tensor_new(MT_FLOAT32, 4, shape);
  char *scratch = changed ? mt_alloc(scratch_size * (size_t)mt_num_threads()) : NULL;
  if (!scratch) {
    mt_release(changed);
    return NULL;
  }
  const transform_work work = {t, size, mt_f32(images), mt_f32(changed), count, new_count, scratch, scratch_size};
  mt_parallel(shape[0], mt_chunk(shape[0], new_count, PARALLEL_FROM), transform_range, &work);
  mt_free(scratch);
  return changed;
}
