/* Loops over LANES values side by side, which the compiler makes vectors of: a minimum over floats in order it may not
 * reorder by itself. */
#include "image/values.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "core/threads.h"

#define LANES 16
#define BLOCK ((int64_t)1 << 14)
#define PARALLEL_FROM ((int64_t)1 << 16) /* values; below, starting threads costs more than they save */

/* ---- NaN and infinity: all bits of the exponent are set ---- */

static bool is_finite(const float *values, int64_t count) {
  uint32_t found = 0;
  for (int64_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, values + i, sizeof bits);
    found |= ((bits & 0x7f800000u) + 0x00800000u) & 0x80000000u;
  }
  return found == 0;
}

static bool image_is_finite(const float *values, int64_t count) {
  for (int64_t at = 0; at < count; at += BLOCK)
    if (!is_finite(values + at, count - at < BLOCK ? count - at : BLOCK)) return false;
  return true;
}

typedef struct {
  const float *values;
  int64_t size; /* of an image */
  _Atomic int64_t *first;
} bad_search;

static void search_images(const void *context, int64_t begin, int64_t end) {
  const bad_search *search = context;
  for (int64_t i = begin; i < end; i++) {
    int64_t first = atomic_load(search->first);
    if (i >= first || image_is_finite(search->values + i * search->size, search->size)) continue;
    while (i < first && !atomic_compare_exchange_weak(search->first, &first, i)) continue;
  }
}

int64_t mt_first_bad(const mt_tensor *images) {
  const int64_t count = images->shape[0], size = count ? images->count / count : 0;
  _Atomic int64_t first = count;
  if (images->dtype != MT_FLOAT32) return -1;
  mt_parallel(count, mt_chunk(count, size, PARALLEL_FROM), search_images, &(bad_search){mt_f32(images), size, &first});
  return first < count ? first : -1;
}

/* ---- range ---- */

#define DEFINE_EXTEND(name, type)                                       \
  static void name(const type *values, int64_t count, float range[2]) { \
    type low[LANES], high[LANES];                                       \
    int64_t i = 0;                                                      \
    for (int lane = 0; lane < LANES; lane++) {                          \
      low[lane] = (type)range[0];                                       \
      high[lane] = (type)range[1];                                      \
    }                                                                   \
    for (; i + LANES <= count; i += LANES) {                            \
      for (int lane = 0; lane < LANES; lane++) {                        \
        const type value = values[i + lane];                            \
        low[lane] = value < low[lane] ? value : low[lane];              \
        high[lane] = value > high[lane] ? value : high[lane];           \
      }                                                                 \
    }                                                                   \
    for (; i < count; i++) {                                            \
      low[0] = values[i] < low[0] ? values[i] : low[0];                 \
      high[0] = values[i] > high[0] ? values[i] : high[0];              \
    }                                                                   \
    for (int lane = 0; lane < LANES; lane++) {                          \
      range[0] = fminf(range[0], (float)low[lane]);                     \
      range[1] = fmaxf(range[1], (float)high[lane]);                    \
    }                                                                   \
  }
DEFINE_EXTEND(extend_f32, float)
DEFINE_EXTEND(extend_u8, uint8_t)

typedef struct {
  const mt_tensor *images;
  float (*ranges)[2]; /* one a worker */
} range_search;

static void search_blocks(const void *context, int64_t begin, int64_t end) {
  const range_search *search = context;
  const mt_tensor *images = search->images;
  float *range = search->ranges[mt_worker()];
  for (int64_t block = begin; block < end; block++) {
    const int64_t at = block * BLOCK, size = images->count - at < BLOCK ? images->count - at : BLOCK;
    if (images->dtype == MT_UINT8)
      extend_u8(mt_u8(images) + at, size, range);
    else
      extend_f32(mt_f32(images) + at, size, range);
  }
}

bool mt_value_range(const mt_tensor *images, float range[2]) {
  const bool bytes = images->dtype == MT_UINT8;
  float ranges[MT_MAX_THREADS][2];
  for (int worker = 0; worker < mt_num_threads(); worker++) {
    ranges[worker][0] = bytes ? 255.0f : INFINITY;
    ranges[worker][1] = bytes ? 0.0f : -INFINITY;
  }
  mt_parallel((images->count + BLOCK - 1) / BLOCK, PARALLEL_FROM / BLOCK, search_blocks,
              &(range_search){images, ranges});
  range[0] = ranges[0][0];
  range[1] = ranges[0][1];
  for (int worker = 1; worker < mt_num_threads(); worker++) {
    range[0] = fminf(range[0], ranges[worker][0]);
    range[1] = fmaxf(range[1], ranges[worker][1]);
  }
  return images->count > 0 && range[0] <= range[1];
}
