/* Conversion between element types: one loop per pair, none of which can leave the target's range. */
#include "ops/cast.h"

#include "core/threads.h"

#define PARALLEL_FROM 65536

static uint8_t float_to_uint8(float x) {
  if (!(x > 0.0f)) return 0; /* NaN too */
  return x >= 255.0f ? 255 : (uint8_t)x;
}

static int32_t float_to_int32(float x) {
  if (x != x) return 0;
  if (x >= 2147483648.0f) return INT32_MAX;
  return x <= -2147483648.0f ? INT32_MIN : (int32_t)x;
}

static uint8_t int32_to_uint8(int32_t x) { return x < 0 ? 0 : x > 255 ? 255 : (uint8_t)x; }

#define CONVERT(to, from, value)                                                                                       \
  do {                                                                                                                 \
    to *restrict out = result->data;                                                                                   \
    const from *restrict in = t->data;                                                                                 \
    _Pragma("omp parallel for num_threads(mt_num_threads()) if (n > PARALLEL_FROM)") for (int64_t i = 0; i < n; i++) { \
      const from x = in[i];                                                                                            \
      out[i] = value;                                                                                                  \
    }                                                                                                                  \
  } while (0)

static void convert(mt_tensor *result, const mt_tensor *t) {
  const int64_t n = t->count;
  switch (result->dtype) {
    case MT_FLOAT32:
      if (t->dtype == MT_UINT8)
        CONVERT(float, uint8_t, (float)x);
      else
        CONVERT(float, int32_t, (float)x);
      break;
    case MT_UINT8:
      if (t->dtype == MT_FLOAT32)
        CONVERT(uint8_t, float, float_to_uint8(x));
      else
        CONVERT(uint8_t, int32_t, int32_to_uint8(x));
      break;
    default:
      if (t->dtype == MT_FLOAT32)
        CONVERT(int32_t, float, float_to_int32(x));
      else
        CONVERT(int32_t, uint8_t, x);
  }
}

mt_tensor *mt_cast(mt_tensor *t, mt_dtype dtype) {
  if (t->dtype == dtype) return mt_retain(t);
  mt_tensor *result = mt_tensor_new(dtype, t->ndim, t->shape);
  if (result) convert(result, t);
  return result;
}
