#include "data/view.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/threads.h"
#include "explain/mask.h"

struct mt_view {
  int refs, count;
  int64_t shape[4];
  size_t image_bytes, row_bytes; /* of an image, and of its mask */
  mt_view_part parts[];
};

/* ---- life ---- */

static int64_t images_of(const mt_view_part *part) {
  return part->positions ? part->positions->count : mt_source_count(part->source);
}

static int check_positions(const mt_tensor *positions, int64_t count) {
  if (!positions) return 0;
  if (mt_expect_dtype(positions, MT_INT32, "images", "positions") < 0 ||
      mt_expect_ndim(positions, 1, "images", "positions", "{N}") < 0)
    return -1;
  for (int64_t i = 0; i < positions->count; i++)
    if (mt_i32(positions)[i] < 1 || mt_i32(positions)[i] > count)
      return mt_fail(MT_ERROR_ARGUMENT, "images: positions[%lld] is %d, expected 1 to %lld", (long long)i + 1,
                     mt_i32(positions)[i], (long long)count);
  return 0;
}

static int check_part(const mt_view_part *part, const int64_t shape[4]) {
  const int64_t *size = mt_source_shape(part->source);
  char text[MT_SHAPE_TEXT];
  if (check_positions(part->positions, mt_source_count(part->source)) < 0) return -1;
  if (images_of(part) != shape[0] || memcmp(size, shape + 1, 3 * sizeof *size) != 0)
    return mt_fail(MT_ERROR_ARGUMENT, "images: %lld of %s, expected as many and of the same size as the first",
                   (long long)images_of(part), mt_shape_text(3, size, text));
  if (part->dim && (mt_expect_dtype(part->dim, MT_FLOAT32, "images", "shares") < 0 ||
                    mt_expect_shape(part->dim, 3, shape, "images", "shares") < 0))
    return -1;
  int64_t masks[3];
  if (!part->masks) return 0;
  mt_masks_shape(part->masks, masks);
  if (memcmp(masks, shape, sizeof masks) == 0) return 0;
  return mt_fail(MT_ERROR_ARGUMENT, "images: masks {%lld,%lld,%lld}, expected {%lld,%lld,%lld} (one per image)",
                 (long long)masks[0], (long long)masks[1], (long long)masks[2], (long long)shape[0],
                 (long long)shape[1], (long long)shape[2]);
}

/* The positions are copied: they were checked, and scripts can write to their tensor. */
static int take_part(mt_view_part *to, const mt_view_part *part) {
  if (part->positions && !(to->positions = mt_tensor_copy(part->positions))) return -1;
  to->source = mt_source_retain(part->source);
  to->masks = part->masks ? mt_masks_retain(part->masks) : NULL;
  to->dim = part->dim ? mt_retain(part->dim) : NULL;
  return 0;
}

mt_view *mt_view_new(const mt_view_part *parts, int count) {
  int64_t shape[4] = {images_of(parts)};
  memcpy(shape + 1, mt_source_shape(parts->source), 3 * sizeof *shape);
  for (int p = 0; p < count; p++)
    if (check_part(&parts[p], shape) < 0) return NULL;
  mt_view *v = calloc(1, sizeof *v + (size_t)count * sizeof *parts);
  if (!v) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot allocate a record of images");
  v->refs = 1;
  memcpy(v->shape, shape, sizeof shape);
  v->image_bytes = (size_t)(shape[1] * shape[2] * shape[3]);
  v->row_bytes = mt_mask_row_bytes(shape[1], shape[2]);
  for (; v->count < count; v->count++) {
    if (take_part(&v->parts[v->count], &parts[v->count]) == 0) continue;
    mt_view_release(v);
    return NULL;
  }
  return v;
}

mt_view *mt_view_retain(mt_view *v) {
  v->refs++;
  return v;
}

void mt_view_release(mt_view *v) {
  if (!v || --v->refs > 0) return;
  for (int p = 0; p < v->count; p++) {
    mt_source_release(v->parts[p].source);
    mt_release(v->parts[p].positions);
    mt_masks_release(v->parts[p].masks);
    mt_release(v->parts[p].dim);
  }
  free(v);
}

const int64_t *mt_view_shape(const mt_view *v) { return v->shape; }

bool mt_view_is_in_memory(const mt_view *v) {
  for (int p = 0; p < v->count; p++)
    if (mt_source_is_files(v->parts[p].source)) return false;
  return true;
}

/* ---- one image ---- */

static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

size_t mt_view_work_bytes(const mt_view *v) { return aligned(v->row_bytes) + (v->count > 1 ? v->image_bytes : 0); }

static int read_part(const mt_view *v, const mt_view_part *part, int64_t i, uint8_t *image, uint8_t *bits) {
  const int64_t pixels = v->shape[1] * v->shape[2], at = part->positions ? mt_i32(part->positions)[i] - 1 : i;
  if (mt_source_read(part->source, at, image) < 0) return -1;
  if (part->masks) {
    if (mt_masks_row(part->masks, i, bits) < 0) return -1;
    mt_mask_hide(bits, pixels, v->shape[3], image);
  }
  if (part->dim) mt_mask_dim_bytes(image, mt_f32(part->dim) + i * pixels, pixels, v->shape[3]);
  return 0;
}

static void add(uint8_t *image, const uint8_t *other, size_t count) {
  for (size_t i = 0; i < count; i++) image[i] = image[i] < 255 - other[i] ? (uint8_t)(image[i] + other[i]) : 255;
}

int mt_view_image(const mt_view *v, int64_t i, uint8_t *image, uint8_t *work) {
  uint8_t *other = work + aligned(v->row_bytes);
  for (int p = 0; p < v->count; p++) {
    if (read_part(v, &v->parts[p], i, p == 0 ? image : other, work) < 0) return -1;
    if (p > 0) add(image, other, v->image_bytes);
  }
  return 0;
}

/* ---- many ---- */

typedef struct {
  const mt_view *view;
  const int32_t *positions;
  uint8_t *images;
  char **messages;
  uint8_t *work; /* of each worker */
  atomic_bool *out_of_memory;
} reading;

static void read_range(const void *context, int64_t begin, int64_t end) {
  const reading *r = context;
  const size_t size = r->view->image_bytes;
  uint8_t *work = r->work + (size_t)mt_worker() * aligned(mt_view_work_bytes(r->view));
  for (int64_t i = begin; i < end; i++) {
    uint8_t *image = r->images + (size_t)i * size;
    if (mt_view_image(r->view, r->positions[i] - 1, image, work) == 0) continue;
    memset(image, 0, size);
    if (mt_error_last_kind() == MT_ERROR_MEMORY || !(r->messages[i] = strdup(mt_error_message())))
      atomic_store(r->out_of_memory, true);
  }
}

int mt_view_read(const mt_view *v, const mt_tensor *positions, mt_tensor *images, char **messages) {
  if (check_positions(positions, v->shape[0]) < 0) return -1;
  uint8_t *work = mt_alloc((size_t)mt_num_threads() * aligned(mt_view_work_bytes(v)));
  if (!work) return -1;
  atomic_bool out_of_memory = false;
  mt_parallel(positions->count, mt_view_is_in_memory(v) ? 16 : 1, read_range,
              &(reading){v, mt_i32(positions), mt_u8(images), messages, work, &out_of_memory});
  mt_free(work);
  mt_touch(images);
  return out_of_memory ? mt_fail(MT_ERROR_MEMORY, "out of memory: reading %lld images", (long long)positions->count)
                       : 0;
}
