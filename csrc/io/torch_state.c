/* Tensors are read in the order of their storages in the file, each of which is read once. Tensors that overlap in
 * their storage share memory, as they do in PyTorch: otherwise a small file could ask for any amount of it. What all
 * take together is bounded before anything is allocated. */
#include "io/torch_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "core/error.h"
#include "core/memory.h"
#include "io/torch_tree.h"

/* What all tensors together may take, against the file's size: float16 doubles, int8 is four times as large, strides
 * may repeat items. Each counts for TENSOR_COST more, so that many tiny ones are bounded as well. */
#define MAX_GROWTH 8
#define TENSOR_COST 512
#define ALWAYS_ALLOWED ((int64_t)16 << 20)

#define fail_state(s, format, ...) mt_fail(MT_ERROR_FORMAT, "load: '%s': " format, (s)->objects->path, __VA_ARGS__)

static int add_cost(mt_torch_state *s, int64_t bytes) {
  const int64_t most = (INT64_MAX - ALWAYS_ALLOWED) / MAX_GROWTH;
  const int64_t allowed = MAX_GROWTH * (s->file_size < most ? s->file_size : most) + ALWAYS_ALLOWED;
  if (!__builtin_add_overflow(s->cost, bytes, &s->cost) && s->cost <= allowed) return 0;
  return fail_state(s, "its tensors take more than %d times the file's %lld bytes", MAX_GROWTH,
                    (long long)s->file_size);
}

/* ---- the list ---- */

static bool is_contiguous(const mt_torch_tensor *t) {
  int64_t step = 1;
  for (int i = t->ndim - 1; i >= 0; i--) {
    if (t->shape[i] != 1 && t->strides[i] != step) return false;
    step *= t->shape[i];
  }
  return true;
}

/* The name as in the file. */
static int add_entry(void *context, const char *name, const mt_torch_tensor *t) {
  mt_torch_state *s = context;
  if (!t->format) {
    mt_weights_leave_out(s->out, name, t->problem);
    return 0;
  }
  if (add_cost(s, TENSOR_COST + (int64_t)strlen(name)) < 0) return -1;
  if (s->count == s->capacity) {
    const size_t capacity = s->capacity ? 2 * s->capacity : 64;
    mt_torch_entry *entries = realloc(s->entries, capacity * sizeof *entries);
    if (!entries) return mt_fail(MT_ERROR_MEMORY, "out of memory: load '%s'", s->objects->path);
    s->entries = entries;
    s->capacity = capacity;
  }
  mt_torch_storage *storage = &s->objects->storages[t->storage];
  char *own = strdup(name);
  if (!own) return mt_fail(MT_ERROR_MEMORY, "out of memory: load '%s'", s->objects->path);
  storage->needed = true;
  s->entries[s->count] = (mt_torch_entry){own, t, storage, s->count, t->count == 0 || is_contiguous(t)};
  s->count++;
  return 0;
}

static int add_named(mt_torch_state *s, const mt_pickle_value *key) {
  char digits[24];
  size_t size = 0;
  const mt_torch_tensor *t = mt_torch_tensor_of(s->objects, key + 1);
  if (!t) return 0;
  const char *text = mt_torch_key(key, digits, &size);
  if (!text) {
    mt_weights_leave_out(s->out, "a tensor", "its name is no string without zero bytes");
    return 0;
  }
  char *name = strndup(text, size);
  if (!name) return mt_fail(MT_ERROR_MEMORY, "out of memory: load '%s'", s->objects->path);
  const int status = add_entry(s, name, t);
  free(name);
  return status;
}

static int compare_names(const void *a, const void *b) {
  return strcmp(((const mt_torch_entry *)a)->name, ((const mt_torch_entry *)b)->name);
}

static int check_names(mt_torch_state *s) {
  if (s->count) qsort(s->entries, s->count, sizeof *s->entries, compare_names);
  for (size_t i = 1; i < s->count; i++)
    if (compare_names(&s->entries[i - 1], &s->entries[i]) == 0)
      return fail_state(s, "tensor '%s' is there twice", s->entries[i].name);
  return 0;
}

int mt_torch_list_state(mt_torch_state *s, const mt_pickle_value *chosen) {
  const mt_pickle_items *parts[MT_TORCH_PARTS];
  const bool is_module = mt_torch_is_module(chosen);
  const int count = is_module ? 0 : mt_torch_parts(chosen, parts);
  if (is_module && mt_torch_walk_module(s->objects, chosen, add_entry, s) < 0) return -1;
  for (int p = 0; p < count; p++)
    for (size_t i = 0; i < parts[p]->count; i += 2)
      if (add_named(s, &parts[p]->values[i]) < 0) return -1;
  return check_names(s);
}

/* ---- groups: entries that are read together ---- */

#define COMPARE(a, b) \
  if ((a) != (b)) return (a) < (b) ? -1 : 1

static int compare_layouts(const mt_torch_tensor *p, const mt_torch_tensor *q) {
  COMPARE(p->first, q->first);
  COMPARE(p->ndim, q->ndim);
  for (int i = 0; i < p->ndim; i++) COMPARE(p->shape[i], q->shape[i]);
  for (int i = 0; i < p->ndim; i++) COMPARE(p->strides[i], q->strides[i]);
  return 0;
}

/* One offset may stand for two storages: where the first is empty. */
static int compare_storages(const mt_torch_storage *p, const mt_torch_storage *q) {
  COMPARE((uintptr_t)p->bytes, (uintptr_t)q->bytes);
  COMPARE(p->offset, q->offset);
  COMPARE(p->count, q->count);
  COMPARE(p->item, q->item);
  return 0;
}

static int compare_places(const void *a, const void *b) {
  const mt_torch_entry *p = a, *q = b;
  const int storages = compare_storages(p->storage, q->storage);
  if (storages != 0) return storages;
  COMPARE((uintptr_t)p->tensor->format, (uintptr_t)q->tensor->format);
  COMPARE(q->contiguous, p->contiguous);
  const int layouts = compare_layouts(p->tensor, q->tensor);
  if (layouts != 0) return layouts;
  COMPARE(p->order, q->order);
  return 0;
}

/* The entries from `first` on that can share one block: contiguous ones that overlap, others that are the same. *begin
 * and *end: the items of the storage that contiguous ones have together. Returns the index behind the last. */
static size_t group_end(const mt_torch_state *s, size_t first, int64_t *begin, int64_t *end) {
  const mt_torch_entry *e = &s->entries[first];
  size_t i = first + 1;
  *begin = e->tensor->first;
  *end = e->tensor->first + e->tensor->count;
  for (; i < s->count; i++) {
    const mt_torch_entry *next = &s->entries[i];
    if (compare_storages(e->storage, next->storage) != 0 || e->tensor->format != next->tensor->format ||
        e->contiguous != next->contiguous)
      break;
    if (e->contiguous ? next->tensor->first >= *end : compare_layouts(e->tensor, next->tensor) != 0) break;
    if (next->tensor->first + next->tensor->count > *end) *end = next->tensor->first + next->tensor->count;
  }
  return i;
}

/* Sorts the entries into the order in which they are read. */
static int plan(mt_torch_state *s) {
  int64_t begin, end, bytes;
  if (s->count) qsort(s->entries, s->count, sizeof *s->entries, compare_places);
  for (size_t i = 0; i < s->count;) {
    const mt_torch_entry *e = &s->entries[i];
    i = group_end(s, i, &begin, &end);
    const int64_t items = e->contiguous ? end - begin : e->tensor->count;
    if (__builtin_mul_overflow(items, (int64_t)mt_dtype_size(e->tensor->format->dtype), &bytes)) bytes = INT64_MAX;
    if (add_cost(s, bytes) < 0) return -1;
  }
  return 0;
}

/* ---- values ---- */

static int read_storage(const mt_torch_state *s, FILE *file, const mt_torch_storage *storage, uint8_t **bytes) {
  const size_t size = (size_t)storage->count * storage->item;
  mt_free(*bytes);
  *bytes = mt_alloc(size);
  if (!*bytes) return -1;
  if (storage->bytes) {
    memcpy(*bytes, storage->bytes, size); /* to an address that suits every type */
    return 0;
  }
  if (fseeko(file, (off_t)storage->offset, SEEK_SET) != 0 || fread(*bytes, 1, size, file) != size) {
    if (ferror(file)) return mt_fail(MT_ERROR_IO, "load: cannot read '%s': %s", s->objects->path, strerror(errno));
    return fail_state(s, "%s", "it is truncated");
  }
  if (storage->crc == 0 || crc32_z(0, *bytes, size) == storage->crc) return 0;
  return fail_state(s, "storage '%.*s' is damaged (wrong checksum)", (int)storage->key_size, storage->key);
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

/* `items`: as many as the tensor has, in the format. *fitting: how many could be converted. */
static void convert(const mt_file_dtype *format, const void *items, mt_tensor *t, int64_t *fitting) {
  *fitting = t->count;
  if (format->convert)
    *fitting = format->convert(items, t->data, t->count);
  else if (t->count)
    memcpy(t->data, items, (size_t)t->count * format->size);
}

/* The values of a group, one after the other; NULL with an error. */
static mt_tensor *read_block(const mt_torch_entry *e, int64_t begin, int64_t end, const uint8_t *storage,
                             int64_t *fitting) {
  const mt_file_dtype *format = e->tensor->format;
  const int64_t count = e->contiguous ? end - begin : e->tensor->count;
  mt_tensor *block = mt_tensor_new(format->dtype, 1, &count);
  if (!block) return NULL;
  if (e->contiguous) {
    /* of nothing, the place may be anywhere */
    convert(format, count ? storage + (size_t)begin * format->size : storage, block, fitting);
    return block;
  }
  uint8_t *items = mt_alloc((size_t)count * format->size);
  if (items) {
    gather(e->tensor, storage, items);
    convert(format, items, block, fitting);
  }
  mt_free(items);
  if (items) return block;
  mt_release(block);
  return NULL;
}

static int add_tensor(const mt_torch_entry *e, const mt_tensor *block, int64_t begin, mt_weights *out) {
  const mt_torch_tensor *t = e->tensor;
  mt_tensor *own = mt_tensor_alias(block, e->contiguous ? t->first - begin : 0, t->ndim, t->shape);
  return own ? mt_weights_add(out, e->name, own) : -1;
}

/* The entries first ... last - 1 out of the bytes of their storage. */
static int read_group(mt_torch_state *s, size_t first, size_t last, int64_t begin, int64_t end,
                      const uint8_t *storage) {
  const mt_torch_entry *e = &s->entries[first];
  int64_t fitting;
  int status = 0;
  mt_tensor *block = read_block(e, begin, end, storage, &fitting);
  if (!block) return -1;
  for (size_t i = first; status == 0 && i < last; i++) {
    if (fitting < block->count)
      mt_weights_leave_out(s->out, s->entries[i].name, MT_TOO_LARGE_INTEGER);
    else
      status = add_tensor(&s->entries[i], block, begin, s->out);
  }
  mt_release(block);
  return status;
}

int mt_torch_read_state(mt_torch_state *s, FILE *file) {
  const mt_torch_storage *held = NULL;
  uint8_t *storage = NULL;
  int status = plan(s);
  for (size_t i = 0, last; status == 0 && i < s->count; i = last) {
    int64_t begin, end;
    const mt_torch_storage *wanted = s->entries[i].storage;
    last = group_end(s, i, &begin, &end);
    if (!held || compare_storages(held, wanted) != 0) status = read_storage(s, file, wanted, &storage);
    held = wanted;
    if (status == 0) status = read_group(s, i, last, begin, end, storage);
  }
  mt_free(storage);
  return status;
}

void mt_torch_state_free(mt_torch_state *s) {
  for (size_t i = 0; i < s->count; i++) free(s->entries[i].name);
  free(s->entries);
  *s = (mt_torch_state){0};
}
