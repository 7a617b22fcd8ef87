/* Conversion between element types: one loop per pair, none of which can leave the target's range. */
#include "ops/cast.h"

#include "core/threads.h"

#define PARALLEL_FROM 65536

static uint8_t clamp_float_to_uint8(float x) {
  if (!(x > 0.0f)) return 0; /* NaN too */
  return x >= 255.0f ? 255 : (uint8_t)x;
}

static int32_t clamp_float_to_int32(float x) {
  if (x != x) return 0;
  if (x >= 2147483648.0f) return INT32_MAX;
  return x <= -2147483648.0f ? INT32_MIN : (int32_t)x;
}

static uint8_t clamp_int32_to_uint8(int32_t x) { return x < 0 ? 0 : x > 255 ? 255 : (uint8_t)x; }

typedef struct {
  const void *in;
  void *out;
} conversion;

#define CONVERT(name, to, from, value)                                \
  static void name(const void *context, int64_t begin, int64_t end) { \
    const conversion *c = context;                                    \
    to *restrict out = c->out;                                        \
    const from *restrict in = c->in;                                  \
    for (int64_t i = begin; i < end; i++) {                           \
      const from x = in[i];                                           \
      out[i] = value;                                                 \
    }                                                                 \
  }

CONVERT(uint8_to_float32, float, uint8_t, (float)x)
CONVERT(int32_to_float32, float, int32_t, (float)x)
CONVERT(float32_to_uint8, uint8_t, float, clamp_float_to_uint8(x))
CONVERT(int32_to_uint8, uint8_t, int32_t, clamp_int32_to_uint8(x))
CONVERT(float32_to_int32, int32_t, float, clamp_float_to_int32(x))
CONVERT(uint8_to_int32, int32_t, uint8_t, x)

/* From, to; NULL where they are the same. */
static mt_loop_body *const conversions[MT_DTYPE_COUNT][MT_DTYPE_COUNT] = {
    [MT_FLOAT32] = {[MT_UINT8] = float32_to_uint8, [MT_INT32] = float32_to_int32},
    [MT_UINT8] = {[MT_FLOAT32] = uint8_to_float32, [MT_INT32] = uint8_to_int32},
    [MT_INT32] = {[MT_FLOAT32] = int32_to_float32, [MT_UINT8] = int32_to_uint8},
};

mt_tensor *mt_cast(mt_tensor *t, mt_dtype dtype) {
  if (t->dtype == dtype) return mt_retain(t);
  mt_tensor *result = mt_tensor_new(dtype, t->ndim, t->shape);
  if (result)
    mt_parallel(t->count, mt_chunk(t->count, 1, PARALLEL_FROM), conversions[t->dtype][dtype],
                &(conversion){t->data, result->data});
  return result;
}
