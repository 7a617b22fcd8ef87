/* NumPy's arrays and numbers in a pickle: dtype('f4', False, True), whose state tells the byte order; an array is made
 * empty and its state is (version, shape, dtype, is it in Fortran's order, bytes); a number is scalar(dtype, bytes). */
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "io/torch_object.h"
#include "io/weights.h"

#define fail_array(o, format, ...) mt_fail(MT_ERROR_FORMAT, "load: '%s': " format, (o)->path, __VA_ARGS__)

static const struct {
  char kind;
  int size;
  const char *format; /* NULL: numbers that we have not */
  const char *name;
} number_types[] = {
    {'f', 2, "F16", "float16"}, {'f', 4, "F32", "float32"},  {'f', 8, "F64", "float64"},    {'f', 16, NULL, "float128"},
    {'i', 1, "I8", "int8"},     {'i', 2, "I16", "int16"},    {'i', 4, "I32", "int32"},      {'i', 8, "I64", "int64"},
    {'u', 1, "U8", "uint8"},    {'u', 2, "U16", "uint16"},   {'u', 4, "U32", "uint32"},     {'u', 8, "U64", "uint64"},
    {'b', 1, "BOOL", "bool"},   {'c', 8, NULL, "complex64"}, {'c', 16, NULL, "complex128"},
};
#define NUMBER_TYPE_COUNT (sizeof number_types / sizeof number_types[0])

/* Its row, or NUMBER_TYPE_COUNT for what is no number. */
static size_t type_of(const mt_numpy_dtype *dtype) {
  size_t i = 0;
  while (i < NUMBER_TYPE_COUNT && (number_types[i].kind != dtype->kind || number_types[i].size != dtype->size)) i++;
  return i;
}

int mt_numpy_make_dtype(mt_torch_objects *o, const mt_pickle_items *args, mt_pickle_value *result) {
  const mt_pickle_value *text = args->count > 0 ? &args->values[0] : NULL;
  if (!text || text->kind != MT_PICKLE_STRING || text->size == 0) return 0;
  mt_numpy_dtype *dtype = mt_torch_add_dtype(o);
  if (!dtype) return -1;
  dtype->kind = text->text[0];
  for (uint32_t i = 1; i < text->size && i < 4; i++) {
    const char digit = text->text[i];
    dtype->size = digit >= '0' && digit <= '9' && dtype->size >= 0 ? 10 * dtype->size + digit - '0' : -1;
  }
  *result = mt_torch_value(MT_TORCH_NUMPY_DTYPE, o->n_dtypes - 1);
  return 1;
}

int mt_numpy_make_array(mt_torch_objects *o, mt_pickle_value *result) {
  mt_torch_tensor *t = mt_torch_add_tensor(o);
  if (!t) return -1;
  t->no_numbers = true; /* until it gets its state */
  *result = mt_torch_value(MT_TORCH_TENSOR, o->n_tensors - 1);
  return 1;
}

/* Steps in items from one to the next along each axis. */
static void set_strides(mt_torch_tensor *t, bool fortran) {
  int64_t step = 1;
  for (int i = 0; i < t->ndim && t->count > 0; i++) {
    const int axis = fortran ? i : t->ndim - 1 - i;
    t->strides[axis] = step;
    step *= t->shape[axis];
  }
}

/* Fills the tensor at `index`. */
static int set_array(mt_torch_objects *o, size_t index, const mt_pickle_value *shape, const mt_numpy_dtype *dtype,
                     bool fortran, const mt_pickle_value *bytes) {
  const size_t type = type_of(dtype);
  if (type == NUMBER_TYPE_COUNT || bytes->kind != MT_PICKLE_STRING) return 0;
  mt_torch_storage *s = mt_torch_add_storage(o);
  if (!s) return -1;
  mt_torch_tensor *t = &o->tensors[index];
  *t = (mt_torch_tensor){.storage = o->n_storages - 1, .problem = number_types[type].name};
  t->ndim = mt_torch_read_sizes(o, shape, "shape", t->shape);
  if (t->ndim < 0) return -1;
  s->item = (size_t)dtype->size;
  s->count = s->n_items = (int64_t)(bytes->size / s->item);
  s->bytes = (const uint8_t *)bytes->text;
  if (t->ndim > MT_MAX_DIMS) {
    t->problem = MT_TOO_MANY_AXES;
    return 0;
  }
  t->count = mt_shape_count("load", t->ndim, t->shape);
  if (t->count < 0 || t->count > (int64_t)bytes->size || (size_t)t->count * s->item != bytes->size)
    return fail_array(o, "an array's shape does not fit its %u bytes", bytes->size);
  set_strides(t, fortran);
  if (dtype->swapped && dtype->size > 1)
    t->problem = "big-endian";
  else if (number_types[type].format)
    s->format = t->format = mt_file_dtype_find(number_types[type].format);
  return 0;
}

static const mt_numpy_dtype *dtype_of(const mt_torch_objects *o, const mt_pickle_value *value) {
  return mt_torch_is(value, MT_TORCH_NUMPY_DTYPE) ? &o->dtypes[value->integer / 4] : NULL;
}

/* (bytes, dtype, shape, "C" or "F"): how protocol 5 has arrays. */
int mt_numpy_array_from_buffer(mt_torch_objects *o, const mt_pickle_items *args, mt_pickle_value *result) {
  const mt_pickle_value *v = args->values;
  const mt_numpy_dtype *dtype = args->count == 4 ? dtype_of(o, &v[1]) : NULL;
  if (!dtype || v[2].kind != MT_PICKLE_TUPLE) return 0;
  if (mt_numpy_make_array(o, result) < 0) return -1;
  return set_array(o, o->n_tensors - 1, &v[2], dtype, mt_pickle_is_text(&v[3], "F"), &v[0]) < 0 ? -1 : 1;
}

/* ---- numbers ---- */

static double float_of(const char *bytes, int size) {
  uint16_t half;
  float single;
  double number;
  switch (size) {
    case 2:
      memcpy(&half, bytes, sizeof half);
      mt_file_dtype_find("F16")->convert(&half, &single, 1);
      return (double)single;
    case 4:
      memcpy(&single, bytes, sizeof single);
      return (double)single;
    default:
      memcpy(&number, bytes, sizeof number);
      return number;
  }
}

static int64_t integer_of(const char *bytes, int size, bool is_signed) {
  int64_t value = is_signed && bytes[size - 1] & 0x80 ? -1 : 0;
  memcpy(&value, bytes, (size_t)size);
  return value;
}

int mt_numpy_make_number(mt_torch_objects *o, const mt_pickle_items *args, mt_pickle_value *result) {
  const mt_numpy_dtype *dtype = args->count == 2 ? dtype_of(o, &args->values[0]) : NULL;
  const size_t type = dtype ? type_of(dtype) : NUMBER_TYPE_COUNT;
  if (type == NUMBER_TYPE_COUNT || !number_types[type].format || dtype->swapped) return 0;
  const mt_pickle_value *bytes = &args->values[1];
  if (bytes->kind != MT_PICKLE_STRING || bytes->size != (uint32_t)dtype->size) return 0;
  if (dtype->kind == 'f') {
    *result = (mt_pickle_value){.kind = MT_PICKLE_NUMBER, .number = float_of(bytes->text, dtype->size)};
    return 1;
  }
  const mt_pickle_kind kind = dtype->kind == 'b' ? MT_PICKLE_BOOLEAN : MT_PICKLE_INTEGER;
  *result = (mt_pickle_value){.kind = kind, .integer = integer_of(bytes->text, dtype->size, dtype->kind == 'i')};
  return dtype->kind == 'i' || result->integer >= 0; /* what is beyond 63 bits stays an object */
}

/* ---- states ---- */

int mt_numpy_build(mt_torch_objects *o, int64_t object, const mt_pickle_value *state) {
  const size_t index = (size_t)(object / 4);
  const size_t count = state->kind == MT_PICKLE_TUPLE ? state->items->count : 0;
  const mt_pickle_value *v = count ? state->items->values : NULL;
  if (object % 4 == MT_TORCH_NUMPY_DTYPE && count > 1) {
    o->dtypes[index].swapped = mt_pickle_is_text(&v[1], ">");
    return 0;
  }
  if (object % 4 != MT_TORCH_TENSOR || !o->tensors[index].no_numbers || count != 5) return 0;
  const mt_numpy_dtype *dtype = dtype_of(o, &v[2]);
  if (!dtype || v[1].kind != MT_PICKLE_TUPLE) return 0;
  return set_array(o, index, &v[1], dtype, v[3].kind == MT_PICKLE_BOOLEAN && v[3].integer, &v[4]);
}
