#include "io/safetensors.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/error.h"
#include "core/memory.h"
#include "io/atomic_file.h"
#include "io/convert.h"
#include "io/json.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "data is copied between memory and files as it stands");

#define LENGTH_SIZE 8
#define MAX_HEADER ((int64_t)100 << 20) /* the format's own limit */
#define METADATA "__metadata__"
#define STAGE_BYTES ((size_t)1 << 18)

typedef struct {
  char *name;
  const mt_file_dtype *dtype; /* NULL: unknown */
  char dtype_name[16];
  int ndim; /* more than MT_MAX_DIMS: of those, the first sizes only */
  int64_t shape[MT_MAX_DIMS];
  int64_t begin, end; /* bytes from the start of the data */
} entry;

typedef struct {
  const char *path;
  int64_t data_size;
  entry *entries;
  size_t count, capacity;
} header;

bool mt_is_safetensors(const uint8_t *head, size_t size) { return size > LENGTH_SIZE && head[LENGTH_SIZE] == '{'; }

/* ---- parsing ---- */

#define fail_entry(h, e, format, ...) \
  mt_fail(MT_ERROR_FORMAT, "load: '%s': tensor '%s': " format, (h)->path, (e)->name, __VA_ARGS__)

static int parse_shape(const header *h, mt_json *json, entry *e) {
  int more = mt_json_enter_array(json);
  while (more == 0 && (more = mt_json_next_element(json)) == 1) {
    int64_t size;
    more = mt_json_unsigned(json, &size);
    if (e->ndim < MT_MAX_DIMS) e->shape[e->ndim] = size;
    if (e->ndim == INT_MAX) return fail_entry(h, e, "%s", "too many axes");
    e->ndim++;
  }
  return more;
}

static int parse_offsets(const header *h, mt_json *json, entry *e) {
  int64_t offsets[2] = {0};
  int n = 0, more = mt_json_enter_array(json);
  while (more == 0 && (more = mt_json_next_element(json)) == 1) {
    if (n == 2) return fail_entry(h, e, "%s", "more than two data_offsets");
    more = mt_json_unsigned(json, &offsets[n++]);
  }
  if (more < 0) return -1;
  if (n != 2) return fail_entry(h, e, "%d data_offsets, expected two", n);
  e->begin = offsets[0];
  e->end = offsets[1];
  return 0;
}

static int parse_dtype(const header *h, mt_json *json, entry *e) {
  mt_bytes name = {0};
  (void)h;
  const int status = mt_json_string(json, &name);
  if (status == 0) {
    e->dtype = mt_file_dtype_find((const char *)name.data);
    snprintf(e->dtype_name, sizeof e->dtype_name, "%s", (const char *)name.data);
  }
  mt_bytes_free(&name);
  return status;
}

/* The value of one tensor's key: an object with the three fields, each once; others are passed over. */
static int parse_entry(const header *h, mt_json *json, entry *e) {
  static const char *const fields[] = {"dtype", "shape", "data_offsets"};
  static int (*const parsers[])(const header *, mt_json *, entry *) = {parse_dtype, parse_shape, parse_offsets};
  bool seen[3] = {false};
  mt_bytes key = {0};
  int more = mt_json_enter_object(json);
  while (more == 0 && (more = mt_json_next_key(json, &key)) == 1) {
    int field = 0;
    while (field < 3 && strcmp(fields[field], (const char *)key.data) != 0) field++;
    if (field == 3) {
      more = mt_json_skip(json);
    } else if (seen[field]) {
      more = fail_entry(h, e, "%s is given twice", fields[field]);
    } else {
      seen[field] = true;
      more = parsers[field](h, json, e);
    }
  }
  mt_bytes_free(&key);
  for (int field = 0; more == 0 && field < 3; field++)
    if (!seen[field]) more = fail_entry(h, e, "%s is missing", fields[field]);
  return more;
}

static int parse_metadata(mt_json *json, mt_weights *out) {
  mt_bytes key = {0}, value = {0};
  if (mt_json_null(json)) return 0;
  int more = mt_json_enter_object(json);
  while (more == 0 && (more = mt_json_next_key(json, &key)) == 1) {
    more = mt_json_string(json, &value);
    if (more == 0) more = mt_weights_add_metadata(out, (const char *)key.data, (const char *)value.data);
  }
  mt_bytes_free(&key);
  mt_bytes_free(&value);
  return more;
}

static entry *add_entry(header *h, const char *name) {
  if (h->count == h->capacity) {
    const size_t capacity = h->capacity ? 2 * h->capacity : 64;
    entry *entries = realloc(h->entries, capacity * sizeof *entries);
    if (!entries) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: load: '%s'", h->path);
    h->entries = entries;
    h->capacity = capacity;
  }
  entry *e = &h->entries[h->count];
  *e = (entry){.name = strdup(name)};
  if (!e->name) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: load: '%s'", h->path);
  h->count++;
  return e;
}

static int parse_header(header *h, const char *text, size_t size, mt_weights *out) {
  mt_json json = mt_json_reader(text, size, h->path);
  mt_bytes key = {0};
  int more = mt_json_enter_object(&json);
  while (more == 0 && (more = mt_json_next_key(&json, &key)) == 1) {
    if (strcmp((const char *)key.data, METADATA) == 0) {
      more = parse_metadata(&json, out);
    } else {
      entry *e = add_entry(h, (const char *)key.data);
      more = e ? parse_entry(h, &json, e) : -1;
    }
  }
  mt_bytes_free(&key);
  return more < 0 ? -1 : mt_json_end(&json);
}

/* ---- checking ---- */

static int compare_names(const void *a, const void *b) {
  return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

static int compare_offsets(const void *a, const void *b) {
  const entry *p = a, *q = b;
  if (p->begin != q->begin) return p->begin < q->begin ? -1 : 1;
  return p->end < q->end ? -1 : p->end > q->end;
}

static int check_names(header *h) {
  if (h->count) qsort(h->entries, h->count, sizeof *h->entries, compare_names);
  for (size_t i = 1; i < h->count; i++)
    if (compare_names(&h->entries[i - 1], &h->entries[i]) == 0)
      return fail_entry(h, &h->entries[i], "%s", "the name is given twice");
  return 0;
}

/* Whether a tensor can have what is in the file. */
static bool is_readable(const entry *e) { return e->dtype && e->ndim <= MT_MAX_DIMS; }

static int check_size(const header *h, const entry *e) {
  char text[MT_SHAPE_TEXT];
  if (!is_readable(e)) return e->end < e->begin ? fail_entry(h, e, "%s", "its data_offsets are in disorder") : 0;
  const int64_t count = mt_shape_count("load", e->ndim, e->shape);
  if (count < 0) return fail_entry(h, e, "shape %s has too many elements", mt_shape_text(e->ndim, e->shape, text));
  const int64_t bytes = count * (int64_t)e->dtype->size;
  if (e->end < e->begin || e->end - e->begin != bytes) {
    return fail_entry(h, e, "data_offsets [%lld,%lld], expected %lld bytes for %s of shape %s", (long long)e->begin,
                      (long long)e->end, (long long)bytes, e->dtype->name, mt_shape_text(e->ndim, e->shape, text));
  }
  return 0;
}

/* Leaves the entries in the order of their data, which they fill without holes or overlaps. */
static int check_layout(header *h) {
  int64_t at = 0;
  if (h->count) qsort(h->entries, h->count, sizeof *h->entries, compare_offsets);
  for (size_t i = 0; i < h->count; i++) {
    const entry *e = &h->entries[i];
    if (check_size(h, e) < 0) return -1;
    if (e->begin != at) {
      return fail_entry(h, e, "its data starts at byte %lld, expected %lld (%s)", (long long)e->begin, (long long)at,
                        e->begin > at ? "a hole" : "an overlap");
    }
    at = e->end;
  }
  if (at == h->data_size) return 0;
  return mt_fail(MT_ERROR_FORMAT, "load: '%s' holds %lld bytes of data, expected %lld (%s)", h->path,
                 (long long)h->data_size, (long long)at, h->data_size < at ? "it is truncated" : "trailing bytes");
}

/* ---- reading ---- */

static int read_exactly(FILE *file, const char *path, void *into, size_t size) {
  if (size == 0 || fread(into, 1, size, file) == size) return 0;
  if (ferror(file)) return mt_fail(MT_ERROR_IO, "load: cannot read '%s': %s", path, strerror(errno));
  return mt_fail(MT_ERROR_FORMAT, "load: '%s' is truncated", path);
}

/* Items that are not kept as they are in the file go through a small buffer. 1: one of them does not fit. */
static int read_converted(FILE *file, const header *h, const entry *e, mt_tensor *t) {
  uint8_t *stage = mt_alloc(STAGE_BYTES);
  if (!stage) return -1;
  const int64_t per_stage = (int64_t)(STAGE_BYTES / e->dtype->size);
  int status = 0;
  for (int64_t done = 0; status == 0 && done < t->count;) {
    const int64_t count = t->count - done < per_stage ? t->count - done : per_stage;
    status = read_exactly(file, h->path, stage, (size_t)count * e->dtype->size);
    if (status < 0) break;
    char *into = (char *)t->data + (size_t)done * mt_dtype_size(t->dtype);
    if (e->dtype->convert(stage, into, count) < count) status = 1;
    done += count;
  }
  mt_free(stage);
  return status;
}

/* The file stands anywhere; data_at: where the first tensor's data is. */
static int read_tensor(FILE *file, const header *h, const entry *e, int64_t data_at, mt_weights *out) {
  if (!is_readable(e)) {
    mt_weights_leave_out(out, e->name, e->dtype ? MT_TOO_MANY_AXES : e->dtype_name);
    return 0;
  }
  mt_tensor *t = mt_tensor_new(e->dtype->dtype, e->ndim, e->shape);
  if (!t) return -1;
  int status = fseeko(file, (off_t)(data_at + e->begin), SEEK_SET) == 0
                   ? 0
                   : mt_fail(MT_ERROR_IO, "load: cannot read '%s': %s", h->path, strerror(errno));
  if (status == 0)
    status =
        e->dtype->convert ? read_converted(file, h, e, t) : read_exactly(file, h->path, t->data, mt_tensor_bytes(t));
  if (status == 0) return mt_weights_add(out, e->name, t);
  if (status == 1) mt_weights_leave_out(out, e->name, MT_TOO_LARGE_INTEGER);
  mt_release(t);
  return status < 0 ? -1 : 0;
}

static int read_tensors(FILE *file, const header *h, mt_weights *out) {
  const off_t data_at = ftello(file);
  if (data_at < 0) return mt_fail(MT_ERROR_IO, "load: cannot read '%s': %s", h->path, strerror(errno));
  for (size_t i = 0; i < h->count; i++)
    if (read_tensor(file, h, &h->entries[i], data_at, out) < 0) return -1;
  return 0;
}

/* The header's length, checked against the file's: also h->data_size. */
static int read_header_size(FILE *file, header *h, int64_t *size) {
  struct stat info;
  uint64_t length;
  if (fstat(fileno(file), &info) != 0 || !S_ISREG(info.st_mode))
    return mt_fail(MT_ERROR_IO, "load: '%s' is not a regular file", h->path);
  if (read_exactly(file, h->path, &length, sizeof length) < 0) return -1;
  const int64_t rest = (int64_t)info.st_size - LENGTH_SIZE;
  if (length > (uint64_t)MAX_HEADER || (int64_t)length > rest) {
    return mt_fail(MT_ERROR_FORMAT, "load: '%s': the header's length is %llu, expected at most %lld (%s)", h->path,
                   (unsigned long long)length, (long long)(rest < MAX_HEADER ? rest : MAX_HEADER),
                   "the file is truncated or not a safetensors file");
  }
  *size = (int64_t)length;
  h->data_size = rest - *size;
  return 0;
}

static int read_header(FILE *file, header *h, mt_weights *out) {
  int64_t size = 0;
  if (read_header_size(file, h, &size) < 0) return -1;
  char *text = mt_alloc((size_t)size);
  if (!text) return -1;
  int status = read_exactly(file, h->path, text, (size_t)size);
  if (status == 0) status = parse_header(h, text, (size_t)size, out);
  mt_free(text);
  if (status == 0) status = check_names(h);
  return status == 0 ? check_layout(h) : status;
}

int mt_safetensors_read(FILE *file, const char *path, const mt_load_request *request, mt_weights *out) {
  header h = {.path = path};
  if (request->key && *request->key)
    return mt_fail(MT_ERROR_ARGUMENT, "load: '%s': option 'key' is '%s', but a safetensors file has no parts to choose",
                   path, request->key);
  int status = read_header(file, &h, out);
  if (status == 0 && !request->metadata_only) status = read_tensors(file, &h, out);
  for (size_t i = 0; i < h.count; i++) free(h.entries[i].name);
  free(h.entries);
  return status;
}

/* ---- writing ---- */

static int compare_for_writing(const void *a, const void *b) {
  const mt_named_tensor *p = *(const mt_named_tensor *const *)a, *q = *(const mt_named_tensor *const *)b;
  const size_t p_size = mt_dtype_size(p->tensor->dtype), q_size = mt_dtype_size(q->tensor->dtype);
  if (p_size != q_size) return p_size > q_size ? -1 : 1;
  return strcmp(p->name, q->name);
}

static int compare_keys(const void *a, const void *b) {
  return strcmp((*(const mt_text_pair *const *)a)->key, (*(const mt_text_pair *const *)b)->key);
}

static int append_text(mt_bytes *out, const char *text) { return mt_bytes_append(out, text, strlen(text)); }

static int append_metadata(mt_bytes *out, const mt_text_pair *const *pairs, size_t count) {
  if (append_text(out, "\"" METADATA "\":{") < 0) return -1;
  for (size_t i = 0; i < count; i++) {
    if ((i && append_text(out, ",") < 0) || mt_json_append_string(out, pairs[i]->key) < 0 ||
        append_text(out, ":") < 0 || mt_json_append_string(out, pairs[i]->value) < 0)
      return -1;
  }
  return append_text(out, "}");
}

static int append_entry(mt_bytes *out, const mt_named_tensor *named, size_t begin) {
  const mt_tensor *t = named->tensor;
  char text[128 + 21 * MT_MAX_DIMS];
  int n = snprintf(text, sizeof text, ":{\"dtype\":\"%s\",\"shape\":[", mt_file_dtype_of(t->dtype));
  for (int i = 0; i < t->ndim; i++)
    n += snprintf(text + n, sizeof text - (size_t)n, i ? ",%lld" : "%lld", (long long)t->shape[i]);
  snprintf(text + n, sizeof text - (size_t)n, "],\"data_offsets\":[%zu,%zu]}", begin, begin + mt_tensor_bytes(t));
  return mt_json_append_string(out, named->name) < 0 ? -1 : append_text(out, text);
}

static int build_header(mt_bytes *out, const mt_named_tensor *const *tensors, size_t count,
                        const mt_text_pair *const *pairs, size_t n_pairs) {
  size_t at = 0;
  if (append_text(out, "{") < 0 || (n_pairs && append_metadata(out, pairs, n_pairs) < 0)) return -1;
  for (size_t i = 0; i < count; i++) {
    if (strcmp(tensors[i]->name, METADATA) == 0)
      return mt_fail(MT_ERROR_ARGUMENT, "save: a tensor cannot be named '" METADATA "'");
    if (((i || n_pairs) && append_text(out, ",") < 0) || append_entry(out, tensors[i], at) < 0) return -1;
    at += mt_tensor_bytes(tensors[i]->tensor);
  }
  if (append_text(out, "}") < 0) return -1;
  while (out->size % 8 != 0)
    if (append_text(out, " ") < 0) return -1;
  return 0;
}

static int write_parts(mt_atomic_file *file, const mt_bytes *head, const mt_named_tensor *const *tensors,
                       size_t count) {
  const uint64_t length = head->size;
  if (mt_atomic_write(file, &length, sizeof length) < 0 || mt_atomic_write(file, head->data, head->size) < 0) return -1;
  for (size_t i = 0; i < count; i++)
    if (mt_atomic_write(file, tensors[i]->tensor->data, mt_tensor_bytes(tensors[i]->tensor)) < 0) return -1;
  return 0;
}

static int write_file(const char *path, const mt_bytes *head, const mt_named_tensor *const *tensors, size_t count) {
  mt_atomic_file *file = mt_atomic_open(path);
  if (!file) return -1;
  if (write_parts(file, head, tensors, count) < 0) {
    mt_atomic_abort(file);
    return -1;
  }
  return mt_atomic_commit(file);
}

int mt_safetensors_write(const char *path, const mt_weights *weights) {
  const size_t count = weights->n_tensors, n_pairs = weights->n_metadata;
  const mt_named_tensor **tensors = malloc((count + 1) * sizeof *tensors);
  const mt_text_pair **pairs = malloc((n_pairs + 1) * sizeof *pairs);
  mt_bytes head = {0};
  int status = tensors && pairs ? 0 : mt_fail(MT_ERROR_MEMORY, "out of memory: save '%s'", path);
  if (status == 0) {
    for (size_t i = 0; i < count; i++) tensors[i] = &weights->tensors[i];
    for (size_t i = 0; i < n_pairs; i++) pairs[i] = &weights->metadata[i];
    qsort(tensors, count, sizeof *tensors, compare_for_writing);
    qsort(pairs, n_pairs, sizeof *pairs, compare_keys);
    status = build_header(&head, tensors, count, pairs, n_pairs);
  }
  if (status == 0) status = write_file(path, &head, tensors, count);
  mt_bytes_free(&head);
  free(tensors);
  free(pairs);
  return status;
}
