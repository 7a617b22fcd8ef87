/* Tensors are read in the order of their storages in the file, each of which is read once. */
#include "io/torch_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "core/error.h"
#include "core/memory.h"

#define PREFIX "module."
/* What all tensors together may take, against the file's size: float16 doubles, int8 is four times as large, several
 * names may share one storage. Each counts for TENSOR_COST more, so that many tiny ones are bounded as well. */
#define MAX_GROWTH 8
#define TENSOR_COST 512
#define ALWAYS_ALLOWED (1 << 16)

#define fail_state(o, format, ...) mt_fail(MT_ERROR_FORMAT, "load: '%s': " format, (o)->path, __VA_ARGS__)

typedef struct {
  char *name;
  const mt_torch_tensor *tensor;
  const mt_torch_storage *storage;
  size_t order; /* in the dict */
} entry;

/* ---- which dict ---- */

static const char *const wrappers[] = {"state_dict", "model", "net", "model_state_dict"};
#define WRAPPERS "'state_dict', 'model', 'net' or 'model_state_dict'"
#define WRAPPER_COUNT (sizeof wrappers / sizeof wrappers[0])

static bool holds_tensors(const mt_torch_objects *o, const mt_pickle_value *value) {
  if (value->kind != MT_PICKLE_DICT) return false;
  for (size_t i = 1; i < value->items->count; i += 2)
    if (mt_torch_tensor_of(o, &value->items->values[i])) return true;
  return false;
}

static bool is_wrapper(const mt_pickle_value *key) {
  for (size_t i = 0; i < WRAPPER_COUNT; i++)
    if (mt_pickle_is_text(key, wrappers[i])) return true;
  return false;
}

/* The state dict: root itself, or the one among its known entries; NULL with an error. */
static const mt_pickle_value *find_state(const mt_torch_objects *o, const mt_pickle_value *root) {
  if (root->kind != MT_PICKLE_DICT) {
    fail_state(o, "it holds %s, expected a state dict",
               mt_torch_tensor_of(o, root) ? "a tensor" : mt_pickle_kind_name(root->kind));
    return NULL;
  }
  if (root->items->count == 0 || holds_tensors(o, root)) return root;
  const mt_pickle_value *found = NULL;
  for (size_t i = 0; i < root->items->count; i += 2) {
    const mt_pickle_value *key = &root->items->values[i];
    if (!is_wrapper(key) || !holds_tensors(o, key + 1)) continue;
    if (found) {
      fail_state(o, "%s", "it holds more than one state dict under " WRAPPERS);
      return NULL;
    }
    found = key + 1;
  }
  if (!found) fail_state(o, "%s", "it holds no tensors, neither itself nor in a dict under " WRAPPERS);
  return found;
}

/* ---- names and metadata ---- */

/* A copy with a zero byte at its end; NULL with an error. */
static char *name_of(const mt_torch_objects *o, const mt_pickle_value *key) {
  if (key->kind != MT_PICKLE_STRING || memchr(key->text, '\0', key->size)) {
    fail_state(o, "a tensor's name is %s, expected a string without zero bytes", mt_pickle_kind_name(key->kind));
    return NULL;
  }
  char *name = strndup(key->text, key->size);
  if (!name) mt_fail(MT_ERROR_MEMORY, "out of memory: load '%s'", o->path);
  return name;
}

/* A number, boolean or string as text; NULL for everything else. */
static const char *scalar_text(const mt_pickle_value *value, char *text, size_t size) {
  switch (value->kind) {
    case MT_PICKLE_BOOLEAN:
      return value->integer ? "true" : "false";
    case MT_PICKLE_INTEGER:
      snprintf(text, size, "%lld", (long long)value->integer);
      return text;
    case MT_PICKLE_NUMBER:
      snprintf(text, size, "%.17g", value->number);
      return text;
    default:
      return NULL;
  }
}

static int add_scalar(const mt_torch_objects *o, const mt_pickle_value *key, mt_weights *out) {
  char text[64];
  const mt_pickle_value *value = key + 1;
  if (key->kind != MT_PICKLE_STRING || memchr(key->text, '\0', key->size)) return 0;
  const bool is_string = value->kind == MT_PICKLE_STRING && !memchr(value->text, '\0', value->size);
  char *string = is_string ? strndup(value->text, value->size) : NULL;
  const char *known = is_string ? string : scalar_text(value, text, sizeof text);
  int status = is_string && !string ? mt_fail(MT_ERROR_MEMORY, "out of memory: load '%s'", o->path) : 0;
  if (status == 0 && known) {
    char *name = name_of(o, key);
    status = name ? mt_weights_add_metadata(out, name, known) : -1;
    free(name);
  }
  free(string);
  return status;
}

static int add_scalars(const mt_torch_objects *o, const mt_pickle_value *dict, mt_weights *out) {
  for (size_t i = 0; i < dict->items->count; i += 2)
    if (add_scalar(o, &dict->items->values[i], out) < 0) return -1;
  return 0;
}

/* ---- the list of tensors ---- */

static int list_tensors(const mt_torch_objects *o, const mt_pickle_value *state, entry *entries, size_t *count) {
  for (size_t i = 0; i < state->items->count; i += 2) {
    const mt_pickle_value *key = &state->items->values[i];
    const mt_torch_tensor *t = mt_torch_tensor_of(o, key + 1);
    if (!t) continue;
    char *name = name_of(o, key);
    if (!name) return -1;
    entries[*count] = (entry){name, t, &o->storages[t->storage], i};
    (*count)++;
  }
  return 0;
}

static void strip_prefix(entry *entries, size_t count) {
  const size_t length = strlen(PREFIX);
  for (size_t i = 0; i < count; i++)
    if (strncmp(entries[i].name, PREFIX, length) != 0 || entries[i].name[length] == '\0') return;
  for (size_t i = 0; i < count; i++)
    memmove(entries[i].name, entries[i].name + length, strlen(entries[i].name + length) + 1);
}

static int compare_names(const void *a, const void *b) {
  return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

static int compare_places(const void *a, const void *b) {
  const entry *p = a, *q = b;
  if (p->storage->offset != q->storage->offset) return p->storage->offset < q->storage->offset ? -1 : 1;
  if (p->storage->count != q->storage->count) return p->storage->count < q->storage->count ? -1 : 1;
  return p->order < q->order ? -1 : p->order > q->order;
}

/* Leaves the entries in the order in which they are read. */
static int check_list(const mt_torch_objects *o, entry *entries, size_t count, int64_t file_size) {
  int64_t total = 0;
  const int64_t allowed =
      file_size > (INT64_MAX - ALWAYS_ALLOWED) / MAX_GROWTH ? INT64_MAX : MAX_GROWTH * file_size + ALWAYS_ALLOWED;
  qsort(entries, count, sizeof *entries, compare_names);
  for (size_t i = 0; i < count; i++) {
    if (i > 0 && compare_names(&entries[i - 1], &entries[i]) == 0)
      return fail_state(o, "tensor '%s' is there twice", entries[i].name);
    int64_t bytes;
    if (__builtin_mul_overflow(entries[i].tensor->count, (int64_t)mt_dtype_size(entries[i].tensor->format->dtype),
                               &bytes) ||
        __builtin_add_overflow(total, bytes, &total) || __builtin_add_overflow(total, TENSOR_COST, &total) ||
        total > allowed)
      return fail_state(o, "its tensors take more than %d times the file's %lld bytes", MAX_GROWTH,
                        (long long)file_size);
  }
  qsort(entries, count, sizeof *entries, compare_places);
  return 0;
}

/* ---- values ---- */

static int read_storage(FILE *file, const mt_torch_objects *o, const mt_torch_storage *s, uint8_t **bytes) {
  const size_t size = (size_t)s->count * s->format->size;
  mt_free(*bytes);
  *bytes = mt_alloc(size);
  if (!*bytes) return -1;
  if (fseeko(file, (off_t)s->offset, SEEK_SET) != 0 || fread(*bytes, 1, size, file) != size) {
    if (ferror(file)) return mt_fail(MT_ERROR_IO, "load: cannot read '%s': %s", o->path, strerror(errno));
    return fail_state(o, "%s", "it is truncated");
  }
  if (s->crc == 0 || crc32_z(0, *bytes, size) == s->crc) return 0;
  return fail_state(o, "storage '%.*s' is damaged (wrong checksum)", (int)s->key_size, s->key);
}

static bool is_contiguous(const mt_torch_tensor *t) {
  int64_t step = 1;
  for (int i = t->ndim - 1; i >= 0; i--) {
    if (t->shape[i] != 1 && t->strides[i] != step) return false;
    step *= t->shape[i];
  }
  return true;
}

/* Copies the items of a tensor with any strides to `to`, one after the other. */
static void gather(const mt_torch_tensor *t, const uint8_t *storage, uint8_t *to) {
  const size_t item = t->format->size;
  int64_t index[MT_MAX_DIMS] = {0}, at = t->first;
  for (int64_t n = 0; n < t->count; n++) {
    memcpy(to + (size_t)n * item, storage + (size_t)at * item, item);
    for (int i = t->ndim - 1; i >= 0; i--) {
      at += t->strides[i];
      if (++index[i] < t->shape[i]) break;
      at -= t->strides[i] * t->shape[i];
      index[i] = 0;
    }
  }
}

/* `items`: as many as the tensor has, in its format. */
static int convert(const mt_torch_objects *o, const entry *e, const void *items, mt_tensor *t) {
  const mt_file_dtype *format = e->tensor->format;
  if (!format->convert) {
    if (t->count) memcpy(t->data, items, (size_t)t->count * format->size);
    return 0;
  }
  const int64_t fitting = format->convert(items, t->data, t->count);
  if (fitting == t->count) return 0;
  return fail_state(o, "tensor '%s': element %lld does not fit in int32", e->name, (long long)(fitting + 1));
}

static int fill(const mt_torch_objects *o, const entry *e, const uint8_t *storage, mt_tensor *t) {
  const size_t item = e->tensor->format->size;
  if (t->count == 0 || is_contiguous(e->tensor)) return convert(o, e, storage + (size_t)e->tensor->first * item, t);
  uint8_t *items = mt_alloc((size_t)t->count * item);
  if (!items) return -1;
  gather(e->tensor, storage, items);
  const int status = convert(o, e, items, t);
  mt_free(items);
  return status;
}

/* One offset may stand for two storages: where the first is empty. */
static bool same_storage(const mt_torch_storage *a, const mt_torch_storage *b) {
  return a->offset == b->offset && a->count == b->count && a->format->size == b->format->size;
}

static int read_entries(FILE *file, const mt_torch_objects *o, const entry *entries, size_t count, mt_weights *out) {
  uint8_t *storage = NULL;
  int status = 0;
  for (size_t i = 0; status == 0 && i < count; i++) {
    const entry *e = &entries[i];
    if (i == 0 || !same_storage(e->storage, entries[i - 1].storage))
      status = read_storage(file, o, e->storage, &storage);
    mt_tensor *t = status == 0 ? mt_tensor_new(e->tensor->format->dtype, e->tensor->ndim, e->tensor->shape) : NULL;
    status = t ? fill(o, e, storage, t) : -1;
    if (status == 0)
      status = mt_weights_add(out, e->name, t);
    else
      mt_release(t);
  }
  mt_free(storage);
  return status;
}

int mt_torch_read_state(FILE *file, int64_t file_size, const mt_torch_objects *o, const mt_pickle_value *root,
                        mt_weights *out) {
  const mt_pickle_value *state = find_state(o, root);
  if (!state) return -1;
  size_t count = 0;
  entry *entries = calloc(state->items->count / 2 + 1, sizeof *entries);
  int status = entries ? 0 : mt_fail(MT_ERROR_MEMORY, "out of memory: load '%s'", o->path);
  if (status == 0) status = list_tensors(o, state, entries, &count);
  if (status == 0) {
    strip_prefix(entries, count);
    status = check_list(o, entries, count, file_size);
  }
  if (status == 0) status = read_entries(file, o, entries, count, out);
  if (status == 0) status = add_scalars(o, root, out);
  if (status == 0 && state != root) status = add_scalars(o, state, out);
  for (size_t i = 0; i < count; i++) free(entries[i].name);
  free(entries);
  return status;
}
