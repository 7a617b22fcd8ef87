#include "image/pixels.h"

#include <string.h>

#include "core/threads.h"
#include "kernels/kernels.h"

#define PARALLEL_FROM ((int64_t)1 << 15) /* values; below, starting threads costs more than they save */

/* ---- files ---- */

int mt_check_claim(const char *format, const char *name, int64_t height, int64_t width, uint64_t least, size_t size) {
  if (height > MT_MAX_PIXELS || width > MT_MAX_PIXELS || height * width > MT_MAX_PIXELS)
    return mt_fail(MT_ERROR_FORMAT, "%s file '%s': %lld x %lld pixels, expected at most %lld in all", format, name,
                   (long long)width, (long long)height, (long long)MT_MAX_PIXELS);
  if (least > size)
    return mt_fail(MT_ERROR_FORMAT, "%s file '%s': %lld x %lld pixels cannot be in %zu bytes", format, name,
                   (long long)width, (long long)height, size);
  return 0;
}

/* ---- channels ---- */

static uint8_t luma(const uint8_t *rgb) { return (uint8_t)((299 * rgb[0] + 587 * rgb[1] + 114 * rgb[2] + 500) / 1000); }

static void convert_pixel(const uint8_t *from, int64_t from_channels, uint8_t *to, int to_channels) {
  if (to_channels == 1) {
    to[0] = from_channels == 1 ? from[0] : luma(from);
    return;
  }
  for (int c = 0; c < 3; c++) to[c] = from_channels == 1 ? from[0] : from[c];
  if (to_channels == 4) to[3] = from_channels == 4 ? from[3] : 255;
}

mt_tensor *mt_convert_channels(const mt_tensor *image, int channels) {
  const int64_t pixels = image->shape[0] * image->shape[1], from_channels = image->shape[2];
  const int64_t shape[3] = {image->shape[0], image->shape[1], channels};
  mt_tensor *converted = mt_tensor_new(MT_UINT8, 3, shape);
  if (!converted) return NULL;
  for (int64_t i = 0; i < pixels; i++)
    convert_pixel(mt_u8(image) + i * from_channels, from_channels, mt_u8(converted) + i * channels, channels);
  return converted;
}

mt_tensor *mt_with_channels(mt_tensor *image, int channels) {
  if (!image || channels == 0 || image->shape[2] == channels) return image;
  mt_tensor *converted = mt_convert_channels(image, channels);
  mt_release(image);
  return converted;
}

/* ---- uint8 and float32 ---- */

void mt_unit_to_bytes(const float *from, uint8_t *to, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    const float value = from[i] > 0.0f ? from[i] : 0.0f; /* NaN compares false */
    to[i] = value < 1.0f ? (uint8_t)(value * 255.0f + 0.5f) : 255;
  }
}

mt_tensor *mt_as_bytes(mt_tensor *images, const char *op) {
  if (images->dtype == MT_UINT8) return mt_retain(images);
  if (images->dtype == MT_INT32)
    return mt_fail_null(MT_ERROR_ARGUMENT, "%s: image is int32, expected uint8 or float32 in [0,1]", op);
  mt_tensor *bytes = mt_tensor_new(MT_UINT8, images->ndim, images->shape);
  if (bytes) mt_unit_to_bytes(mt_f32(images), mt_u8(bytes), images->count);
  return bytes;
}

mt_tensor *mt_single_image(const mt_tensor *image, const char *op) {
  char text[MT_SHAPE_TEXT];
  if (image->ndim != 4) return mt_tensor_detach(image);
  if (image->shape[0] == 1) return mt_tensor_alias(image, 0, 3, image->shape + 1);
  return mt_fail_null(MT_ERROR_ARGUMENT,
                      "%s: image has shape %s, a batch of %lld; expected one image: batch[i], or save_grid for all", op,
                      mt_shape_text(image->ndim, image->shape, text), (long long)image->shape[0]);
}

static int check_indices(const mt_tensor *images, const mt_tensor *indices) {
  if (mt_expect_dtype(images, MT_UINT8, "batch", "images") < 0 ||
      mt_expect_ndim(images, 4, "batch", "images", "{N,H,W,C}") < 0 ||
      mt_expect_dtype(indices, MT_INT32, "batch", "indices") < 0 ||
      mt_expect_ndim(indices, 1, "batch", "indices", "{B}") < 0)
    return -1;
  for (int64_t i = 0; i < indices->count; i++) {
    const int32_t index = mt_i32(indices)[i];
    if (index < 1 || index > images->shape[0])
      return mt_fail(MT_ERROR_ARGUMENT, "batch: indices[%lld] is %d, expected 1 to %lld", (long long)i + 1, index,
                     (long long)images->shape[0]);
  }
  return 0;
}

typedef struct {
  const uint8_t *from;
  const int32_t *indices; /* 1-based, of each image; NULL: one after the other */
  float *to;
  int64_t size; /* of an image */
} unit_work;

static void images_to_unit(const void *context, int64_t begin, int64_t end) {
  const unit_work *w = context;
  for (int64_t i = begin; i < end; i++)
    mt_kernels->bytes_to_unit(w->to + i * w->size, w->from + (w->indices ? w->indices[i] - 1 : i) * w->size, w->size);
}

mt_tensor *mt_image_batch(const mt_tensor *images, const mt_tensor *indices) {
  if (check_indices(images, indices) < 0) return NULL;
  const int64_t shape[4] = {indices->count, images->shape[1], images->shape[2], images->shape[3]};
  mt_tensor *batch = mt_tensor_new(MT_FLOAT32, 4, shape);
  if (!batch) return NULL;
  const int64_t size = shape[1] * shape[2] * shape[3];
  mt_parallel(shape[0], mt_chunk(shape[0], size, PARALLEL_FROM), images_to_unit,
              &(unit_work){mt_u8(images), mt_i32(indices), mt_f32(batch), size});
  return batch;
}

mt_tensor *mt_image_range(const mt_tensor *images, int64_t first, int64_t count) {
  const int64_t shape[4] = {count, images->shape[1], images->shape[2], images->shape[3]};
  const int64_t size = shape[1] * shape[2] * shape[3];
  if (images->dtype == MT_FLOAT32) return mt_tensor_alias(images, first * size, 4, shape);
  mt_tensor *range = mt_tensor_new(MT_FLOAT32, 4, shape);
  if (!range) return NULL;
  mt_parallel(count, mt_chunk(count, size, PARALLEL_FROM), images_to_unit,
              &(unit_work){mt_u8(images) + first * size, NULL, mt_f32(range), size});
  return range;
}
