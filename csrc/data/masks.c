#include "data/masks.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/threads.h"

#define PARALLEL_FROM ((int64_t)1 << 16) /* pixels */

struct mt_masks {
  int refs;
  int64_t count, height, width;
  size_t row_bytes;
  mt_tensor *bits;    /* in memory: uint8 {N,row_bytes}; else NULL */
  mt_row_file *file;  /* else NULL */
  mt_masks *whole;    /* of which these are some; else NULL */
  int32_t *positions; /* in the whole, from 0 */
};

/* ---- rows ---- */

size_t mt_mask_row_bytes(int64_t height, int64_t width) { return ((size_t)(height * width) + 7) / 8; }

void mt_mask_pack_row(const uint8_t *keep, int64_t pixels, uint8_t *bits) {
  memset(bits, 0, ((size_t)pixels + 7) / 8);
  for (int64_t i = 0; i < pixels; i++) bits[i / 8] |= (uint8_t)((keep[i] != 0) << (7 - i % 8));
}

static bool keeps(const uint8_t *bits, int64_t i) { return bits[i / 8] >> (7 - i % 8) & 1; }

void mt_mask_hide(const uint8_t *bits, int64_t pixels, int64_t channels, uint8_t *image) {
  for (int64_t i = 0; i < pixels; i++) {
    if (i % 8 == 0 && bits[i / 8] == 0xff) {
      i += 7;
    } else if (!keeps(bits, i)) {
      memset(image + i * channels, 0, (size_t)channels);
    }
  }
}

/* ---- life ---- */

static mt_masks *new_masks(int64_t count, int64_t height, int64_t width) {
  mt_masks *m = calloc(1, sizeof *m);
  if (!m) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot allocate a record of masks");
  *m = (mt_masks){.refs = 1, .count = count, .height = height, .width = width};
  m->row_bytes = mt_mask_row_bytes(height, width);
  return m;
}

mt_masks *mt_masks_of_bits(mt_tensor *bits, int64_t height, int64_t width) {
  const int64_t row_bytes = (int64_t)mt_mask_row_bytes(height, width);
  char text[MT_SHAPE_TEXT];
  if (mt_expect_dtype(bits, MT_UINT8, "masks", "bits") < 0) return NULL;
  if (bits->ndim != 2 || bits->shape[1] != row_bytes)
    return mt_fail_null(MT_ERROR_ARGUMENT, "masks: bits has shape %s, expected {N,%lld} for masks of %lldx%lld",
                        mt_shape_text(bits->ndim, bits->shape, text), (long long)row_bytes, (long long)height,
                        (long long)width);
  mt_masks *m = new_masks(bits->shape[0], height, width);
  if (m) m->bits = mt_retain(bits);
  return m;
}

mt_masks *mt_masks_of_file(mt_row_file *file, int64_t height, int64_t width) {
  if (mt_row_file_row_bytes(file) != mt_mask_row_bytes(height, width) ||
      mt_row_file_present(file) != mt_row_file_count(file))
    return mt_fail_null(MT_ERROR_ARGUMENT, "masks: a whole file of masks of %lldx%lld expected", (long long)height,
                        (long long)width);
  mt_masks *m = new_masks(mt_row_file_count(file), height, width);
  if (m) m->file = mt_row_file_retain(file);
  return m;
}

mt_masks *mt_masks_retain(mt_masks *m) {
  m->refs++;
  return m;
}

void mt_masks_release(mt_masks *m) {
  if (!m || --m->refs > 0) return;
  mt_release(m->bits);
  mt_free(m->positions);
  mt_row_file_release(m->file);
  mt_masks_release(m->whole);
  free(m);
}

void mt_masks_shape(const mt_masks *m, int64_t shape[3]) {
  shape[0] = m->count;
  shape[1] = m->height;
  shape[2] = m->width;
}

/* ---- reading ---- */

int mt_masks_row(const mt_masks *m, int64_t i, uint8_t *bits) {
  if (m->whole) return mt_masks_row(m->whole, m->positions[i], bits);
  if (m->file) {
    const int got = mt_row_file_get(m->file, i, bits);
    return got == 0  ? mt_fail(MT_ERROR_FORMAT, "masks: mask %lld is not in its file", (long long)i + 1)
           : got > 0 ? 0
                     : -1;
  }
  memcpy(bits, mt_u8(m->bits) + (size_t)i * m->row_bytes, m->row_bytes);
  return 0;
}

/* What a loop over masks makes of each: `use` gets its bits, in memory that may be changed, and where it stands. */
typedef void use_of_bits(const mt_masks *m, uint8_t *bits, int64_t i, void *to);

static int for_each(const mt_masks *m, int64_t first, int64_t count, use_of_bits *use, void *to) {
  uint8_t *bits = mt_alloc(m->row_bytes);
  if (!bits) return -1;
  int status = 0;
  for (int64_t i = 0; i < count && status == 0; i++) {
    status = mt_masks_row(m, first + i, bits);
    if (status == 0) use(m, bits, i, to);
  }
  mt_free(bits);
  return status;
}

static void unpack_row(const mt_masks *m, uint8_t *bits, int64_t i, void *to) {
  const int64_t pixels = m->height * m->width;
  uint8_t *keep = (uint8_t *)to + i * pixels;
  for (int64_t p = 0; p < pixels; p++) keep[p] = keeps(bits, p);
}

mt_tensor *mt_masks_unpack(const mt_masks *m, int64_t first, int64_t count) {
  const int64_t shape[3] = {count, m->height, m->width};
  mt_tensor *keep = mt_tensor_new(MT_UINT8, 3, shape);
  if (!keep || for_each(m, first, count, unpack_row, keep->data) == 0) return keep;
  mt_release(keep);
  return NULL;
}

static void count_row(const mt_masks *m, uint8_t *bits, int64_t i, void *to) {
  int32_t count = 0;
  for (size_t b = 0; b < m->row_bytes; b++) count += __builtin_popcount(bits[b]);
  ((int32_t *)to)[i] = count;
}

mt_tensor *mt_masks_counts(const mt_masks *m) {
  mt_tensor *counts = mt_tensor_new(MT_INT32, 1, &m->count);
  if (!counts || for_each(m, 0, m->count, count_row, counts->data) == 0) return counts;
  mt_release(counts);
  return NULL;
}

/* ---- making ---- */

typedef struct {
  const uint8_t *keep;
  uint8_t *bits;
  int64_t pixels;
  size_t row_bytes;
} packing;

static void pack_range(const void *context, int64_t begin, int64_t end) {
  const packing *p = context;
  for (int64_t i = begin; i < end; i++)
    mt_mask_pack_row(p->keep + i * p->pixels, p->pixels, p->bits + (size_t)i * p->row_bytes);
}

mt_tensor *mt_masks_pack(const mt_tensor *keep) {
  if (mt_expect_dtype(keep, MT_UINT8, "masks", "keep") < 0 || mt_expect_ndim(keep, 3, "masks", "keep", "{N,H,W}") < 0)
    return NULL;
  const int64_t pixels = keep->shape[1] * keep->shape[2];
  const size_t row_bytes = mt_mask_row_bytes(keep->shape[1], keep->shape[2]);
  const int64_t shape[2] = {keep->shape[0], (int64_t)row_bytes};
  mt_tensor *bits = mt_tensor_new(MT_UINT8, 2, shape);
  if (bits)
    mt_parallel(shape[0], mt_chunk(shape[0], pixels, PARALLEL_FROM), pack_range,
                &(packing){mt_u8(keep), mt_u8(bits), pixels, row_bytes});
  return bits;
}

mt_masks *mt_masks_index(mt_masks *m, const mt_tensor *positions) {
  if (mt_expect_dtype(positions, MT_INT32, "masks", "positions") < 0 ||
      mt_expect_ndim(positions, 1, "masks", "positions", "{M}") < 0)
    return NULL;
  mt_masks *some = new_masks(positions->count, m->height, m->width);
  if (!some || !(some->positions = mt_alloc((size_t)positions->count * sizeof *some->positions))) {
    mt_masks_release(some);
    return NULL;
  }
  for (int64_t i = 0; i < positions->count; i++) {
    const int32_t position = mt_i32(positions)[i];
    if (position < 1 || position > m->count) {
      mt_masks_release(some);
      return mt_fail_null(MT_ERROR_ARGUMENT, "masks: positions[%lld] is %d, expected 1 to %lld", (long long)i + 1,
                          position, (long long)m->count);
    }
    some->positions[i] = m->whole ? m->positions[position - 1] : position - 1;
  }
  some->whole = mt_masks_retain(m->whole ? m->whole : m);
  return some;
}

static void and_row(const mt_masks *m, uint8_t *bits, int64_t i, void *to) {
  uint8_t *both = (uint8_t *)to + (size_t)i * m->row_bytes;
  for (size_t b = 0; b < m->row_bytes; b++) both[b] &= bits[b];
}

static void copy_row(const mt_masks *m, uint8_t *bits, int64_t i, void *to) {
  memcpy((uint8_t *)to + (size_t)i * m->row_bytes, bits, m->row_bytes);
}

static void invert_row(const mt_masks *m, uint8_t *bits, int64_t i, void *to) {
  const int64_t rest = m->height * m->width % 8;
  for (size_t b = 0; b < m->row_bytes; b++) bits[b] = (uint8_t)~bits[b];
  if (rest) bits[m->row_bytes - 1] &= (uint8_t)(0xff << (8 - rest));
  copy_row(m, bits, i, to);
}

/* Masks in memory of what `use` makes of each of m, and then `then` of each of b, if there are such. */
static mt_masks *derived(const mt_masks *m, use_of_bits *use, const mt_masks *b, use_of_bits *then) {
  const int64_t shape[2] = {m->count, (int64_t)m->row_bytes};
  mt_tensor *bits = mt_tensor_new(MT_UINT8, 2, shape);
  if (!bits) return NULL;
  mt_masks *result = NULL;
  if (for_each(m, 0, m->count, use, bits->data) == 0 && (!b || for_each(b, 0, b->count, then, bits->data) == 0))
    result = mt_masks_of_bits(bits, m->height, m->width);
  mt_release(bits);
  return result;
}

mt_masks *mt_masks_complement(const mt_masks *m) { return derived(m, invert_row, NULL, NULL); }

mt_masks *mt_masks_both(const mt_masks *a, const mt_masks *b) {
  if (a->count != b->count || a->height != b->height || a->width != b->width)
    return mt_fail_null(MT_ERROR_ARGUMENT, "masks: {%lld,%lld,%lld} and {%lld,%lld,%lld}, expected as many of one size",
                        (long long)a->count, (long long)a->height, (long long)a->width, (long long)b->count,
                        (long long)b->height, (long long)b->width);
  return derived(a, copy_row, b, and_row);
}
