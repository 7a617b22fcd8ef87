#include "io/matfile.h"

#include <math.h>
#include <string.h>
#include <zlib.h>

#include "core/error.h"
#include "core/memory.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied between memory and files as they stand");

#define HEADER_SIZE 128
#define MAX_NAME 63 /* MATLAB's own limit */
#define STAGE_VALUES 4096
#define MAX_RATIO 1032 /* deflate cannot shrink data more than this */

enum { TYPE_INT8 = 1, TYPE_INT32 = 5, TYPE_UINT32 = 6, TYPE_MATRIX = 14, TYPE_COMPRESSED = 15 };
enum { CLASS_DOUBLE = 6, CLASS_SINGLE = 7, CLASS_INT8 = 8, CLASS_UINT8 = 9, CLASS_UINT64 = 15 };
enum { FLAG_COMPLEX = 0x0800 };

/* ---- bytes, inflated on the way where they are compressed ---- */

typedef struct {
  const char *name; /* of the file */
  const uint8_t *at, *end;
  bool compressed, ended; /* ended: the zlib stream is complete and its checksum right */
  z_stream stream;
  uint64_t left; /* bytes that can still come: exact, or for compressed data a bound */
} source;

static int fail_damaged(const source *s, const char *what) {
  return mt_fail(MT_ERROR_FORMAT, "read_mat: '%s': %s", s->name, what);
}

/* Inflates up to `size` bytes; less only at the stream's end. -1 where the stream is damaged or the input used up. */
static int64_t inflate_some(source *s, uint8_t *into, size_t size) {
  size_t done = 0;
  while (done < size && !s->ended) {
    const size_t piece = size - done < (1u << 30) ? size - done : 1u << 30;
    const size_t input = (size_t)(s->end - s->stream.next_in);
    s->stream.avail_in = input < (1u << 30) ? (uInt)input : 1u << 30;
    s->stream.next_out = into + done;
    s->stream.avail_out = (uInt)piece;
    const int code = inflate(&s->stream, Z_NO_FLUSH);
    done += piece - s->stream.avail_out;
    if (code == Z_MEM_ERROR) return mt_fail(MT_ERROR_MEMORY, "out of memory: read_mat '%s'", s->name);
    if (code == Z_STREAM_END)
      s->ended = true;
    else if (code != Z_OK)
      return fail_damaged(
          s, code == Z_BUF_ERROR ? "a compressed element is truncated" : "a compressed element is damaged");
  }
  return (int64_t)done;
}

static int read_bytes(source *s, void *into, uint64_t size) {
  if (size > s->left) return fail_damaged(s, "an array is longer than the element it is in");
  if (s->compressed) {
    const int64_t got = inflate_some(s, into, (size_t)size);
    if (got < 0) return -1;
    if ((uint64_t)got < size) return fail_damaged(s, "an array is longer than the element it is in");
  } else {
    if (size) memcpy(into, s->at, (size_t)size);
    s->at += size;
  }
  s->left -= size;
  return 0;
}

static int skip_bytes(source *s, uint64_t size) {
  uint8_t nothing[512];
  while (size > 0) {
    const uint64_t piece = size < sizeof nothing ? size : sizeof nothing;
    if (read_bytes(s, nothing, piece) < 0) return -1;
    size -= piece;
  }
  return 0;
}

/* ---- tags ---- */

/* A tag and, where the data is at most four bytes, the data in it. */
typedef struct {
  uint32_t type;
  uint64_t size;
  bool is_small;
  uint8_t small[4];
} tag;

static int read_tag(source *s, tag *t) {
  uint32_t words[2];
  if (read_bytes(s, words, sizeof words) < 0) return -1;
  t->is_small = words[0] >> 16 != 0;
  t->type = t->is_small ? words[0] & 0xffff : words[0];
  t->size = t->is_small ? words[0] >> 16 : words[1];
  memcpy(t->small, &words[1], sizeof t->small);
  return t->is_small && t->size > 4 ? fail_damaged(s, "a small element has more than 4 bytes") : 0;
}

static uint64_t padding_of(const tag *t) { return t->is_small ? 0 : (8 - t->size % 8) % 8; }

/* A field of a matrix with at most `most` bytes. */
static int read_field(source *s, uint32_t type, void *into, uint64_t most, uint64_t *size, const char *problem) {
  tag t;
  if (read_tag(s, &t) < 0) return -1;
  if (t.type != type || t.size > most) return fail_damaged(s, problem);
  *size = t.size;
  if (t.is_small) {
    memcpy(into, t.small, (size_t)t.size);
    return 0;
  }
  return read_bytes(s, into, t.size) < 0 ? -1 : skip_bytes(s, padding_of(&t));
}

/* ---- numbers ---- */

static double load_int8(const uint8_t *at) { return (int8_t)*at; }
static double load_uint8(const uint8_t *at) { return *at; }
#define DEFINE_LOAD(type)                        \
  static double load_##type(const uint8_t *at) { \
    type value;                                  \
    memcpy(&value, at, sizeof value);            \
    return (double)value;                        \
  }
DEFINE_LOAD(int16_t)
DEFINE_LOAD(uint16_t)
DEFINE_LOAD(int32_t)
DEFINE_LOAD(uint32_t)
DEFINE_LOAD(float)
DEFINE_LOAD(double)
DEFINE_LOAD(int64_t)
DEFINE_LOAD(uint64_t)

/* How numbers are stored, which need not be their class: MATLAB stores doubles that are small integers as bytes. */
typedef struct {
  uint8_t size;
  double (*load)(const uint8_t *at);
} number_format;

static const number_format formats[] = {
    [1] = {1, load_int8},     [2] = {1, load_uint8},     [3] = {2, load_int16_t}, [4] = {2, load_uint16_t},
    [5] = {4, load_int32_t},  [6] = {4, load_uint32_t},  [7] = {4, load_float},   [9] = {8, load_double},
    [12] = {8, load_int64_t}, [13] = {8, load_uint64_t},
};

static const number_format *format_of(uint32_t type) {
  return type < sizeof formats / sizeof formats[0] && formats[type].size ? &formats[type] : NULL;
}

static bool store_value(mt_tensor *t, int64_t i, double value) {
  if (t->dtype == MT_FLOAT32) {
    mt_f32(t)[i] = (float)value;
    return true;
  }
  const double low = t->dtype == MT_UINT8 ? 0.0 : INT32_MIN, high = t->dtype == MT_UINT8 ? 255.0 : INT32_MAX;
  if (!(value >= low && value <= high) || value != floor(value)) return false;
  if (t->dtype == MT_UINT8)
    mt_u8(t)[i] = (uint8_t)value;
  else
    mt_i32(t)[i] = (int32_t)value;
  return true;
}

/* ---- arrays ---- */

typedef struct {
  char name[MAX_NAME + 1];
  uint8_t class;
  bool complex;
  int ndim;
  int64_t shape[MT_MAX_DIMS]; /* reversed */
} array_info;

static int fail_array(const source *s, const array_info *a, const char *what) {
  return mt_fail(MT_ERROR_FORMAT, "read_mat: '%s': array '%s': %s", s->name, a->name, what);
}

static int read_dimensions(source *s, array_info *a) {
  int32_t sizes[32];
  uint64_t bytes;
  if (read_field(s, TYPE_INT32, sizes, sizeof sizes, &bytes, "the sizes of an array are damaged") < 0) return -1;
  int count = (int)(bytes / 4);
  while (count > 1 && sizes[count - 1] == 1) count--;
  if (bytes % 4 || bytes < 8 || count > MT_MAX_DIMS) return fail_damaged(s, "the sizes of an array are damaged");
  a->ndim = count < 2 ? 2 : count;
  for (int i = 0; i < a->ndim; i++) {
    if (sizes[i] < 0) return fail_damaged(s, "an array has a negative size");
    a->shape[a->ndim - 1 - i] = sizes[i];
  }
  return 0;
}

static int read_info(source *s, array_info *a) {
  uint32_t flags[2];
  uint64_t bytes;
  if (read_field(s, TYPE_UINT32, flags, sizeof flags, &bytes, "the flags of an array are damaged") < 0) return -1;
  if (bytes != sizeof flags) return fail_damaged(s, "the flags of an array are damaged");
  a->class = flags[0] & 0xff;
  a->complex = flags[0] & FLAG_COMPLEX;
  if (read_dimensions(s, a) < 0) return -1;
  if (read_field(s, TYPE_INT8, a->name, MAX_NAME, &bytes, "the name of an array is damaged") < 0) return -1;
  a->name[bytes] = '\0';
  return 0;
}

static bool is_plain_numeric(const array_info *a) {
  return a->class >= CLASS_DOUBLE && a->class <= CLASS_UINT64 && !a->complex;
}

static mt_dtype dtype_of(const array_info *a) {
  if (a->class == CLASS_DOUBLE || a->class == CLASS_SINGLE) return MT_FLOAT32;
  return a->class == CLASS_UINT8 ? MT_UINT8 : MT_INT32;
}

static int read_converted(source *s, const array_info *a, const number_format *format, mt_tensor *t) {
  uint8_t stage[STAGE_VALUES * 8];
  for (int64_t done = 0; done < t->count;) {
    const int64_t count = t->count - done < STAGE_VALUES ? t->count - done : STAGE_VALUES;
    if (read_bytes(s, stage, (uint64_t)count * format->size) < 0) return -1;
    for (int64_t i = 0; i < count; i++)
      if (!store_value(t, done + i, format->load(stage + i * format->size)))
        return fail_array(s, a, t->dtype == MT_UINT8 ? "a value is not in 0 to 255" : "a value does not fit in int32");
    done += count;
  }
  return 0;
}

/* Small data lies in its tag. */
static int read_small(const source *s, const array_info *a, const tag *t, const number_format *format, mt_tensor *to) {
  for (int64_t i = 0; i < to->count; i++)
    if (!store_value(to, i, format->load(t->small + i * format->size))) return fail_array(s, a, "a value does not fit");
  return 0;
}

static int read_values(source *s, const array_info *a, const tag *t, const number_format *format, mt_tensor *to) {
  if (t->is_small) return read_small(s, a, t, format, to);
  if (to->dtype == MT_UINT8 && format->load == load_uint8) return read_bytes(s, to->data, (uint64_t)to->count);
  return read_converted(s, a, format, to);
}

static int read_array(source *s, const array_info *a, mt_weights *out) {
  tag t;
  char text[MT_SHAPE_TEXT];
  const int64_t count = mt_shape_count("read_mat", a->ndim, a->shape);
  if (count < 0) return fail_array(s, a, "it has too many elements");
  if (read_tag(s, &t) < 0) return -1;
  const number_format *format = format_of(t.type);
  if (!format) return fail_array(s, a, "its values are of an unknown type");
  if (t.size % format->size || t.size / format->size != (uint64_t)count)
    return mt_fail(MT_ERROR_FORMAT, "read_mat: '%s': array '%s': %llu bytes of values, expected %lld values for %s",
                   s->name, a->name, (unsigned long long)t.size, (long long)count,
                   mt_shape_text(a->ndim, a->shape, text));
  if (!t.is_small && t.size > s->left) return fail_array(s, a, "its values are longer than the element they are in");
  mt_tensor *values = mt_tensor_new(dtype_of(a), a->ndim, a->shape);
  if (!values) return -1;
  if (read_values(s, a, &t, format, values) < 0 || skip_bytes(s, padding_of(&t)) < 0) {
    mt_release(values);
    return -1;
  }
  return mt_weights_add(out, a->name, values);
}

/* ---- elements ---- */

/* The contents of an element of type matrix, `s->left` bytes. */
static int read_matrix(source *s, mt_weights *out) {
  array_info a = {0};
  if (read_info(s, &a) < 0) return -1;
  if (!is_plain_numeric(&a)) return skip_bytes(s, s->left);
  for (size_t i = 0; i < out->n_tensors; i++)
    if (strcmp(out->tensors[i].name, a.name) == 0) return fail_array(s, &a, "it is in the file twice");
  if (read_array(s, &a, out) < 0) return -1;
  return s->left == 0 ? 0 : fail_array(s, &a, "its element is longer than its values");
}

/* One matrix in a zlib stream, which must be whole: its checksum covers the values. */
static int read_inflated(source *s, mt_weights *out) {
  tag t;
  uint8_t more;
  const uint64_t bound = (uint64_t)(s->end - s->stream.next_in) * MAX_RATIO;
  s->left = 8;
  if (read_tag(s, &t) < 0) return -1;
  if (t.type != TYPE_MATRIX || t.is_small) return fail_damaged(s, "a compressed element is no array");
  if (t.size > bound) return fail_damaged(s, "a compressed element claims more than its bytes can hold");
  s->left = t.size;
  if (read_matrix(s, out) < 0) return -1;
  const int64_t got = inflate_some(s, &more, 1);
  if (got < 0) return -1;
  return got == 0 && s->ended ? 0 : fail_damaged(s, "a compressed element is longer than its array");
}

static int read_compressed(const char *name, const uint8_t *data, size_t size, mt_weights *out) {
  source s = {.name = name, .end = data + size, .compressed = true};
  if (inflateInit(&s.stream) != Z_OK) return mt_fail(MT_ERROR_MEMORY, "out of memory: read_mat '%s'", name);
  s.stream.next_in = (Bytef *)(uintptr_t)data;
  const int status = read_inflated(&s, out);
  inflateEnd(&s.stream);
  return status;
}

static int read_element(source *file, mt_weights *out) {
  tag t;
  if (file->left < 8) return fail_damaged(file, "it is truncated, or has bytes after its end");
  if (read_tag(file, &t) < 0) return -1;
  if (t.is_small) return 0;
  if (t.size > file->left)
    return mt_fail(MT_ERROR_FORMAT, "read_mat: '%s' is truncated: an element of %llu bytes, %llu are left", file->name,
                   (unsigned long long)t.size, (unsigned long long)file->left);
  const uint8_t *data = file->at;
  file->at += t.size;
  file->left -= t.size;
  if (t.type == TYPE_COMPRESSED) return read_compressed(file->name, data, (size_t)t.size, out);
  source s = {.name = file->name, .at = data, .end = data + t.size, .left = t.size};
  if (t.type == TYPE_MATRIX && read_matrix(&s, out) < 0) return -1;
  const uint64_t padding = padding_of(&t) < file->left ? padding_of(&t) : file->left;
  return skip_bytes(file, padding);
}

static int check_header(const uint8_t *data, size_t size, const char *name) {
  if (size >= 8 && memcmp(data, "\x89HDF\r\n\x1a\n", 8) == 0)
    return mt_fail(MT_ERROR_FORMAT, "read_mat: '%s' is HDF5, expected a MAT-file of version 5", name);
  if (size < HEADER_SIZE)
    return mt_fail(MT_ERROR_FORMAT, "read_mat: '%s' is truncated: %zu bytes, expected a header of 128", name, size);
  if (memcmp(data + 126, "MI", 2) == 0)
    return mt_fail(MT_ERROR_FORMAT, "read_mat: '%s' has big-endian numbers, expected little-endian ones", name);
  const int version = data[124] | data[125] << 8;
  if (memcmp(data + 126, "IM", 2) == 0 && version == 0x0200)
    return mt_fail(MT_ERROR_FORMAT, "read_mat: '%s' is of version 7.3 (HDF5), expected one of version 5", name);
  if (memcmp(data + 126, "IM", 2) != 0 || version != 0x0100)
    return mt_fail(MT_ERROR_FORMAT, "read_mat: '%s' is not a MAT-file of version 5", name);
  return 0;
}

int mt_matfile_read(const void *data, size_t size, const char *name, mt_weights *out) {
  if (check_header(data, size, name) < 0) return -1;
  source file = {.name = name, .at = (const uint8_t *)data + HEADER_SIZE, .left = size - HEADER_SIZE};
  file.end = file.at + file.left;
  while (file.left > 0)
    if (read_element(&file, out) < 0) return -1;
  return 0;
}
