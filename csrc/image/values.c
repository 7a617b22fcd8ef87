/* Loops over LANES values side by side, which the compiler makes vectors of: a minimum over floats in order it may not
 * reorder by itself. */
#include "image/values.h"

#include <math.h>
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

int64_t mt_first_bad(const mt_tensor *images) {
  const int64_t count = images->shape[0], size = count ? images->count / count : 0;
  int64_t first = count;
  if (images->dtype != MT_FLOAT32) return -1;
#pragma omp parallel for num_threads(mt_num_threads()) reduction(min : first) if (images->count >= PARALLEL_FROM)
  for (int64_t i = 0; i < count; i++)
    if (i < first && !image_is_finite(mt_f32(images) + i * size, size)) first = i;
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

bool mt_value_range(const mt_tensor *images, float range[2]) {
  const bool bytes = images->dtype == MT_UINT8;
  const int64_t count = images->count;
  const float none[2] = {bytes ? 255.0f : INFINITY, bytes ? 0.0f : -INFINITY};
  float low = INFINITY, high = -INFINITY;
#pragma omp parallel for num_threads(mt_num_threads()) reduction(min                  \
                                                                 : low) reduction(max \
                                                                                  : high) if (count >= PARALLEL_FROM)
  for (int64_t at = 0; at < count; at += BLOCK) {
    const int64_t size = count - at < BLOCK ? count - at : BLOCK;
    float block[2] = {none[0], none[1]};
    if (bytes)
      extend_u8(mt_u8(images) + at, size, block);
    else
      extend_f32(mt_f32(images) + at, size, block);
    low = fminf(low, block[0]);
    high = fmaxf(high, block[1]);
  }
  range[0] = low;
  range[1] = high;
  return low <= high;
}
