#include "io/convert.h"

#include <string.h>

static float float_from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static int64_t from_f64(const void *from, void *to, int64_t count) {
  for (int64_t i = 0; i < count; i++) ((float *)to)[i] = (float)((const double *)from)[i];
  return count;
}

/* Half precision: 1 sign, 5 exponent, 10 fraction bits. */
static float half_to_float(uint16_t half) {
  const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
  if (exponent == 0x1f) return float_from_bits(sign | 0x7f800000u | fraction << 13);
  if (exponent != 0) return float_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
  const float magnitude = (float)fraction * 0x1p-24f; /* subnormal, exact in float32 */
  return sign ? -magnitude : magnitude;
}

static int64_t from_f16(const void *from, void *to, int64_t count) {
  for (int64_t i = 0; i < count; i++) ((float *)to)[i] = half_to_float(((const uint16_t *)from)[i]);
  return count;
}

static int64_t from_bf16(const void *from, void *to, int64_t count) {
  for (int64_t i = 0; i < count; i++) ((float *)to)[i] = float_from_bits((uint32_t)((const uint16_t *)from)[i] << 16);
  return count;
}

static int64_t from_i64(const void *from, void *to, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    const int64_t value = ((const int64_t *)from)[i];
    if (value < INT32_MIN || value > INT32_MAX) return i;
    ((int32_t *)to)[i] = (int32_t)value;
  }
  return count;
}

static int64_t from_u64(const void *from, void *to, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    const uint64_t value = ((const uint64_t *)from)[i];
    if (value > INT32_MAX) return i;
    ((int32_t *)to)[i] = (int32_t)value;
  }
  return count;
}

static int64_t from_u32(const void *from, void *to, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    const uint32_t value = ((const uint32_t *)from)[i];
    if (value > INT32_MAX) return i;
    ((int32_t *)to)[i] = (int32_t)value;
  }
  return count;
}

static int64_t from_u16(const void *from, void *to, int64_t count) {
  for (int64_t i = 0; i < count; i++) ((int32_t *)to)[i] = ((const uint16_t *)from)[i];
  return count;
}

static int64_t from_i16(const void *from, void *to, int64_t count) {
  for (int64_t i = 0; i < count; i++) ((int32_t *)to)[i] = ((const int16_t *)from)[i];
  return count;
}

static int64_t from_i8(const void *from, void *to, int64_t count) {
  for (int64_t i = 0; i < count; i++) ((int32_t *)to)[i] = ((const int8_t *)from)[i];
  return count;
}

static int64_t from_bool(const void *from, void *to, int64_t count) {
  for (int64_t i = 0; i < count; i++) ((uint8_t *)to)[i] = ((const uint8_t *)from)[i] != 0;
  return count;
}

static const mt_file_dtype formats[] = {
    {"F32", 4, MT_FLOAT32, NULL},       {"F64", 8, MT_FLOAT32, from_f64}, {"F16", 2, MT_FLOAT32, from_f16},
    {"BF16", 2, MT_FLOAT32, from_bf16}, {"I32", 4, MT_INT32, NULL},       {"I64", 8, MT_INT32, from_i64},
    {"I16", 2, MT_INT32, from_i16},     {"I8", 1, MT_INT32, from_i8},     {"U8", 1, MT_UINT8, NULL},
    {"U64", 8, MT_INT32, from_u64},     {"U32", 4, MT_INT32, from_u32},   {"U16", 2, MT_INT32, from_u16},
    {"BOOL", 1, MT_UINT8, from_bool},
};
#define FORMAT_COUNT (sizeof formats / sizeof formats[0])

const mt_file_dtype *mt_file_dtype_find(const char *name) {
  for (size_t i = 0; i < FORMAT_COUNT; i++)
    if (strcmp(formats[i].name, name) == 0) return &formats[i];
  return NULL;
}

const char *mt_file_dtype_of(mt_dtype dtype) {
  size_t i = 0;
  while (formats[i].convert || formats[i].dtype != dtype) i++;
  return formats[i].name;
}
