#include "image/files.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/threads.h"
#include "image/format.h"
#include "image/jpeg.h"
#include "image/resample.h"
#include "io/file.h"

#define MAX_FILE ((size_t)1 << 30)

/* ---- one image ---- */

mt_tensor *mt_image_decode(const void *data, size_t size, int channels, const int64_t min_size[2], const char *name) {
  if (size == 0) return mt_fail_null(MT_ERROR_FORMAT, "'%s' is empty", name);
  if (mt_is_jpeg(data, size)) return mt_jpeg_decode(data, size, channels, min_size, name);
  const mt_format *format = mt_format_of(data, size);
  if (format->decode) return format->decode(data, size, channels, name);
  mt_refuse_format(format, name);
  return NULL;
}

mt_tensor *mt_image_read(const char *path, int channels, const int64_t min_size[2]) {
  mt_bytes bytes = {0};
  mt_tensor *image = NULL;
  if (mt_read_regular_file(path, MAX_FILE, &bytes) == 0)
    image = mt_image_decode(bytes.data, bytes.size, channels, min_size, path);
  mt_bytes_free(&bytes);
  return image;
}

/* ---- kinds ---- */

static const char *probe(const char *path) {
  uint8_t head[MT_FORMAT_BYTES];
  const char *kind = mt_path_kind(path, NULL);
  if (!kind) return "missing";
  if (strcmp(kind, "file") != 0) return kind;
  const long size = mt_read_head(path, head, sizeof head);
  if (size < 0) return "unreadable";
  return size == 0 ? "empty" : mt_format_of(head, (size_t)size)->name;
}

typedef struct {
  const char *const *paths;
  const char **kinds;
} probing;

static void probe_range(const void *context, int64_t begin, int64_t end) {
  const probing *p = context;
  for (int64_t i = begin; i < end; i++) p->kinds[i] = probe(p->paths[i]);
}

void mt_probe_files(const char *const *paths, int64_t count, const char **kinds) {
  mt_parallel(count, 16, probe_range, &(probing){paths, kinds});
}

/* ---- sizes ---- */

typedef struct {
  const char *const *paths;
  int64_t *sizes;
} sizing;

static void size_range(const void *context, int64_t begin, int64_t end) {
  const sizing *s = context;
  for (int64_t i = begin; i < end; i++) s->sizes[i] = mt_file_size(s->paths[i]);
}

void mt_file_sizes(const char *const *paths, int64_t count, int64_t *sizes) {
  mt_parallel(count, 64, size_range, &(sizing){paths, sizes});
}

/* ---- many images ---- */

/* The box that is shown, in the proportions of the result where the fit is to crop. */
static mt_resample_shape place_box(const mt_tensor *image, mt_image_fit fit, int64_t height, int64_t width,
                                   int64_t *offset) {
  int64_t box_height = image->shape[0], box_width = image->shape[1];
  if (fit == MT_FIT_CROP) {
    const int64_t for_width = (box_width * height + width / 2) / width;
    const int64_t for_height = (box_height * width + height / 2) / height;
    if (for_width < box_height) box_height = for_width > 0 ? for_width : 1;
    if (for_height < box_width) box_width = for_height > 0 ? for_height : 1;
  }
  const int64_t stride = image->shape[1] * image->shape[2];
  *offset = (image->shape[0] - box_height) / 2 * stride + (image->shape[1] - box_width) / 2 * image->shape[2];
  return (mt_resample_shape){height, width, box_height, box_width, stride, image->shape[2], MT_FILTER_TRIANGLE};
}

static int fit_image(const mt_tensor *image, mt_image_fit fit, int64_t height, int64_t width, uint8_t *to) {
  int64_t offset;
  const mt_resample_shape shape = place_box(image, fit, height, width, &offset);
  void *scratch = mt_alloc(mt_resample_scratch(&shape));
  if (!scratch) return -1;
  mt_resample_u8(mt_u8(image) + offset, &shape, to, scratch);
  mt_free(scratch);
  return 0;
}

int mt_read_image(const char *path, mt_image_fit fit, const int64_t shape[3], uint8_t *to) {
  mt_tensor *image = mt_image_read(path, (int)shape[2], shape);
  if (!image) return -1;
  const int status = fit_image(image, fit, shape[0], shape[1], to);
  mt_release(image);
  return status;
}

static int check_images(const mt_tensor *images) {
  char text[MT_SHAPE_TEXT];
  const int64_t *shape = images->shape;
  if (mt_expect_dtype(images, MT_UINT8, "read_files", "images") < 0 ||
      mt_expect_ndim(images, 4, "read_files", "images", "{N,H,W,C}") < 0)
    return -1;
  if (shape[1] >= 1 && shape[2] >= 1 && shape[1] <= 1 << 16 && shape[2] <= 1 << 16 &&
      (shape[3] == 1 || shape[3] == 3 || shape[3] == 4))
    return 0;
  return mt_fail(MT_ERROR_ARGUMENT,
                 "read_files: images has shape %s, expected {N,H,W,C} with H and W 1 to 65536, C 1, 3 or 4",
                 mt_shape_text(4, shape, text));
}

typedef struct {
  const char *const *paths;
  mt_image_fit fit;
  mt_tensor *images;
  char **messages;
  atomic_bool *out_of_memory;
} reading;

static void read_range(const void *context, int64_t begin, int64_t end) {
  const reading *r = context;
  const int64_t *shape = r->images->shape, size = shape[1] * shape[2] * shape[3];
  for (int64_t i = begin; i < end; i++) {
    uint8_t *to = mt_u8(r->images) + i * size;
    if (mt_read_image(r->paths[i], r->fit, shape + 1, to) == 0) continue;
    memset(to, 0, (size_t)size);
    if (mt_error_last_kind() == MT_ERROR_MEMORY || !(r->messages[i] = strdup(mt_error_message())))
      atomic_store(r->out_of_memory, true);
  }
}

int mt_read_images(const char *const *paths, mt_image_fit fit, mt_tensor *images, char **messages) {
  if (check_images(images) < 0) return -1;
  const int64_t count = images->shape[0];
  atomic_bool out_of_memory = false;
  mt_parallel(count, 1, read_range, &(reading){paths, fit, images, messages, &out_of_memory});
  mt_touch(images);
  return out_of_memory ? mt_fail(MT_ERROR_MEMORY, "out of memory: reading %lld images", (long long)count) : 0;
}
