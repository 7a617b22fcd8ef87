#include "data/source.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

#define PROBLEM 256

struct mt_source {
  int refs;
  int64_t count, shape[3];
  size_t image_bytes;
  mt_tensor *images; /* else files: */
  char *text;        /* all paths, one after the other */
  const char **paths;
  mt_image_fit fit;
  mt_row_file *cache;
  atomic_flag cache_failed;
  atomic_bool has_problem; /* set after the text */
  char problem[PROBLEM];
};

/* ---- life ---- */

static mt_source *new_source(int64_t count, const int64_t shape[3]) {
  mt_source *s = calloc(1, sizeof *s);
  if (!s) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot allocate a record of images");
  s->refs = 1;
  s->count = count;
  memcpy(s->shape, shape, sizeof s->shape);
  s->image_bytes = (size_t)(shape[0] * shape[1] * shape[2]);
  atomic_flag_clear(&s->cache_failed);
  return s;
}

static int copy_paths(mt_source *s, const char *const *paths) {
  size_t size = 0;
  for (int64_t i = 0; i < s->count; i++) size += strlen(paths[i]) + 1;
  s->text = mt_alloc(size);
  s->paths = mt_alloc((size_t)s->count * sizeof *s->paths);
  if (!s->text || !s->paths) return -1;
  char *next = s->text;
  for (int64_t i = 0; i < s->count; i++) {
    s->paths[i] = next;
    next = stpcpy(next, paths[i]) + 1;
  }
  return 0;
}

mt_source *mt_source_of_files(const char *const *paths, int64_t count, const int64_t shape[3], mt_image_fit fit) {
  mt_source *s = new_source(count, shape);
  if (!s) return NULL;
  s->fit = fit;
  if (copy_paths(s, paths) == 0) return s;
  mt_source_release(s);
  return NULL;
}

mt_source *mt_source_of_tensor(mt_tensor *images) {
  if (mt_expect_dtype(images, MT_UINT8, "images", "images") < 0 ||
      mt_expect_ndim(images, 4, "images", "images", "{N,H,W,C}") < 0)
    return NULL;
  mt_source *s = new_source(images->shape[0], images->shape + 1);
  if (s) s->images = mt_retain(images);
  return s;
}

mt_source *mt_source_retain(mt_source *s) {
  s->refs++;
  return s;
}

void mt_source_release(mt_source *s) {
  if (!s || --s->refs > 0) return;
  mt_release(s->images);
  mt_free(s->text);
  mt_free(s->paths);
  mt_row_file_release(s->cache);
  free(s);
}

int64_t mt_source_count(const mt_source *s) { return s->count; }
const int64_t *mt_source_shape(const mt_source *s) { return s->shape; }
bool mt_source_is_files(const mt_source *s) { return !s->images; }

/* ---- the cache ---- */

int mt_source_set_cache(mt_source *s, mt_row_file *cache) {
  if (mt_row_file_count(cache) != s->count || mt_row_file_row_bytes(cache) != s->image_bytes)
    return mt_fail(MT_ERROR_ARGUMENT, "cache: %lld rows of %zu bytes, expected %lld of %zu (one per image)",
                   (long long)mt_row_file_count(cache), mt_row_file_row_bytes(cache), (long long)s->count,
                   s->image_bytes);
  mt_row_file_retain(cache);
  mt_row_file_release(s->cache);
  s->cache = cache;
  return 0;
}

/* Without a cache the images are the same: a full disk is said, and decoding goes on. */
static void keep(mt_source *s, int64_t i, const uint8_t *image) {
  if (!s->cache || s->has_problem || mt_row_file_put(s->cache, i, image) == 0) return;
  if (atomic_flag_test_and_set(&s->cache_failed)) return;
  snprintf(s->problem, sizeof s->problem, "%s", mt_error_message());
  s->has_problem = true;
}

const char *mt_source_cache_problem(const mt_source *s) { return s->has_problem ? s->problem : NULL; }

/* ---- reading ---- */

int mt_source_read(mt_source *s, int64_t i, uint8_t *image) {
  if (s->images) {
    memcpy(image, mt_u8(s->images) + (size_t)i * s->image_bytes, s->image_bytes);
    return 0;
  }
  if (s->cache && mt_row_file_get(s->cache, i, image) == 1) return 0;
  if (mt_read_image(s->paths[i], s->fit, s->shape, image) < 0) return -1;
  keep(s, i, image);
  return 0;
}
