/* Both formats are a pickle that names storages by keys, and the storages' bytes:
 *   zip:     <any>/data.pkl, <any>/data/<key> for each storage, <any>/byteorder ("little"; missing in older ones);
 *   pickles: some about the format, the object, the list of keys (io/torch_pickles.c), then the storages.
 * A file of one pickle alone is the object itself, without storages. */
#include "io/torch_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "core/error.h"
#include "core/memory.h"
#include "io/torch_choose.h"
#include "io/torch_object.h"
#include "io/torch_pickles.h"
#include "io/torch_state.h"
#include "io/zip.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "items are copied from files as they stand");

#define FIRST_READ ((int64_t)4 << 20) /* the pickle of a state dict with thousands of tensors: less than 1 MiB */
#define MAX_KEY 256

#define fail_file(path, format, ...) mt_fail(MT_ERROR_FORMAT, "load: '%s': " format, path, __VA_ARGS__)

bool mt_is_torch_zip(const uint8_t *head, size_t size) { return mt_is_zip(head, size); }

bool mt_is_torch_pickles(const uint8_t *head, size_t size) {
  return size >= 2 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5;
}

static int read_range(FILE *file, const char *path, int64_t at, void *into, size_t size) {
  if (fseeko(file, (off_t)at, SEEK_SET) == 0 && fread(into, 1, size, file) == size) return 0;
  if (ferror(file)) return mt_fail(MT_ERROR_IO, "load: cannot read '%s': %s", path, strerror(errno));
  return fail_file(path, "%s", "it is truncated");
}

/* ---- the storages by key ---- */

static int compare_keys(const char *a, size_t a_size, const char *b, size_t b_size) {
  const int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
  return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

static int compare_storages(const void *a, const void *b) {
  const mt_torch_storage *p = *(mt_torch_storage *const *)a, *q = *(mt_torch_storage *const *)b;
  return compare_keys(p->key, p->key_size, q->key, q->key_size);
}

/* Pointers to the storages of the file, those of one key side by side; references to one key must agree on what it is.
 * Free it. */
static mt_torch_storage **storages_by_key(const mt_torch_objects *o, size_t *count) {
  mt_torch_storage **sorted = malloc((o->n_storages + 1) * sizeof *sorted);
  if (!sorted) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: load '%s'", o->path);
  *count = 0;
  for (size_t i = 0; i < o->n_storages; i++)
    if (!o->storages[i].bytes) sorted[(*count)++] = &o->storages[i];
  qsort(sorted, *count, sizeof *sorted, compare_storages);
  for (size_t i = 1; i < *count; i++) {
    const mt_torch_storage *s = sorted[i], *before = sorted[i - 1];
    const bool agree = s->format == before->format && s->item == before->item && s->count == before->count;
    if (compare_storages(&sorted[i - 1], &sorted[i]) == 0 && !agree) {
      fail_file(o->path, "storage '%.*s' has two types or sizes", (int)s->key_size, s->key);
      free(sorted);
      return NULL;
    }
  }
  return sorted;
}

/* ---- zip ---- */

typedef struct {
  const mt_zip *zip;
  const mt_zip_entry *pickle;
  char *name; /* room for the name of any entry beside the pickle, starting with their common folder */
  size_t folder;
} archive;

#define PICKLE_NAME "data.pkl"

static bool ends_with(const mt_zip_entry *e, const char *end) {
  const size_t length = strlen(end);
  return e->name_size >= length && memcmp(e->name + e->name_size - length, end, length) == 0;
}

static bool has_entry(const mt_zip *zip, const char *end) {
  for (size_t i = 0; i < zip->count; i++)
    if (ends_with(&zip->entries[i], end)) return true;
  return false;
}

static bool is_pickle(const mt_zip_entry *e) {
  const char *slash = memchr(e->name, '/', e->name_size);
  return slash && ends_with(e, "/" PICKLE_NAME) && slash + strlen("/" PICKLE_NAME) == e->name + e->name_size;
}

static int fail_without_pickle(const mt_zip *zip) {
  if (has_entry(zip, ".npy"))
    return fail_file(zip->path, "%s", "it holds NumPy's arrays (.npz): write them as safetensors to load them here");
  return fail_file(zip->path, "%s", "the zip archive holds no data.pkl: torch.save did not write it");
}

static int find_pickle(archive *a) {
  for (size_t i = 0; i < a->zip->count; i++) {
    if (!is_pickle(&a->zip->entries[i])) continue;
    if (a->pickle) return fail_file(a->zip->path, "%s", "the zip archive holds more than one data.pkl");
    a->pickle = &a->zip->entries[i];
  }
  if (!a->pickle) return fail_without_pickle(a->zip);
  if (has_entry(a->zip, "/constants.pkl"))
    return fail_file(a->zip->path, "%s",
                     "it is a TorchScript program (torch.jit.save): save the module's state_dict() with torch.save");
  a->folder = a->pickle->name_size - strlen(PICKLE_NAME);
  return 0;
}

/* The entry <folder>/<name><key>. */
static const mt_zip_entry *find_beside(archive *a, const char *name, const char *key, size_t key_size) {
  const size_t length = strlen(name);
  memcpy(a->name, a->pickle->name, a->folder);
  memcpy(a->name + a->folder, name, length);
  memcpy(a->name + a->folder + length, key, key_size);
  return mt_zip_find(a->zip, a->name, a->folder + length + key_size);
}

static int check_byte_order(archive *a, FILE *file) {
  char order[7] = "";
  int64_t offset;
  const mt_zip_entry *entry = find_beside(a, "byteorder", "", 0);
  if (!entry) return 0;
  if (entry->size >= (int64_t)sizeof order) return fail_file(a->zip->path, "%s", "its byte order is unknown");
  if (mt_zip_locate(a->zip, entry, &offset) < 0 ||
      read_range(file, a->zip->path, offset, order, (size_t)entry->size) < 0)
    return -1;
  return strcmp(order, "little") == 0 ? 0 : fail_file(a->zip->path, "its byte order is '%s', expected 'little'", order);
}

static int locate_entry(archive *a, mt_torch_storage *s) {
  const int64_t bytes = s->count * (int64_t)s->item;
  const mt_zip_entry *entry = s->key_size <= MAX_KEY ? find_beside(a, "data/", s->key, s->key_size) : NULL;
  const int shown = s->key_size <= MAX_KEY ? (int)s->key_size : MAX_KEY;
  if (!entry) return fail_file(a->zip->path, "storage '%.*s' is missing in the zip archive", shown, s->key);
  if (entry->size != bytes)
    return fail_file(a->zip->path, "storage '%.*s' has %lld bytes, expected %lld", shown, s->key,
                     (long long)entry->size, (long long)bytes);
  s->crc = entry->crc;
  return mt_zip_locate(a->zip, entry, &s->offset);
}

static int locate_in_zip(archive *a, const mt_torch_objects *o) {
  size_t count = 0;
  mt_torch_storage **sorted = storages_by_key(o, &count), *found = NULL;
  if (!sorted) return -1;
  int status = 0;
  for (size_t i = 0; status == 0 && i < count; i++) {
    mt_torch_storage *s = sorted[i];
    if (!s->needed) continue;
    if (found && compare_storages(&found, &s) == 0) {
      s->offset = found->offset;
      s->crc = found->crc;
    } else {
      status = locate_entry(a, s);
    }
    found = s;
  }
  free(sorted);
  return status;
}

/* The bytes of data.pkl; NULL with an error. */
static uint8_t *read_pickle(archive *a, FILE *file) {
  int64_t offset;
  const size_t size = (size_t)a->pickle->size;
  if (mt_zip_locate(a->zip, a->pickle, &offset) < 0) return NULL;
  uint8_t *bytes = mt_alloc(size);
  if (bytes && read_range(file, a->zip->path, offset, bytes, size) == 0) {
    if (a->pickle->crc == 0 || crc32_z(0, bytes, size) == a->pickle->crc) return bytes;
    fail_file(a->zip->path, "%s", "data.pkl is damaged (wrong checksum)");
  }
  mt_free(bytes);
  return NULL;
}

/* Lists the tensors that are wanted. 1: there is nothing more to do. */
static int list_wanted(mt_torch_state *state, const mt_pickle_value *root, const mt_load_request *request) {
  const mt_pickle_value *chosen = mt_torch_choose(state->objects, root, request, state->out);
  if (!chosen) return -1;
  return request->metadata_only ? 1 : mt_torch_list_state(state, chosen);
}

static int read_archive(archive *a, FILE *file, const mt_load_request *request, mt_weights *out) {
  a->name = malloc(a->folder + MAX_KEY + sizeof "byteorder");
  if (!a->name) return mt_fail(MT_ERROR_MEMORY, "out of memory: load '%s'", a->zip->path);
  uint8_t *bytes = check_byte_order(a, file) < 0 ? NULL : read_pickle(a, file);
  if (!bytes) return -1;
  mt_torch_objects objects = {.path = a->zip->path};
  mt_torch_state state = {.objects = &objects, .file_size = a->zip->file_size, .out = out};
  mt_pickle_value root;
  mt_pickle *pickle = mt_pickle_new(bytes, (size_t)a->pickle->size, a->zip->path, &mt_torch_hooks, &objects);
  int status = pickle ? mt_pickle_next(pickle, &root) : -1;
  if (status == 0) status = list_wanted(&state, &root, request);
  if (status == 0) status = locate_in_zip(a, &objects);
  if (status == 0) status = mt_torch_read_state(&state, file);
  mt_torch_state_free(&state);
  mt_pickle_free(pickle);
  mt_torch_objects_free(&objects);
  mt_free(bytes);
  return status < 0 ? -1 : 0;
}

int mt_torch_read_zip(FILE *file, const char *path, const mt_load_request *request, mt_weights *out) {
  mt_zip zip = {0};
  archive a = {.zip = &zip};
  int status = mt_zip_open(file, path, &zip);
  if (status == 0) status = find_pickle(&a);
  if (status == 0) status = read_archive(&a, file, request, out);
  free(a.name);
  mt_zip_close(&zip);
  return status;
}

/* ---- pickles ---- */

typedef struct {
  FILE *file;
  const char *path;
  int64_t file_size;
  const mt_load_request *request;
} pickles;

/* The storages of one key have their items at `at`; returns how many bytes that are, -1 with an error. */
static int64_t locate_key(const pickles *f, mt_torch_storage **sorted, size_t count, const mt_pickle_value *key,
                          int64_t at) {
  const mt_torch_storage wanted = {.key = key->text, .key_size = key->size}, *wanted_at = &wanted;
  if (key->kind != MT_PICKLE_STRING)
    return fail_file(f->path, "a storage's key is %s, expected a string", mt_pickle_kind_name(key->kind));
  const int shown = key->size <= MAX_KEY ? (int)key->size : MAX_KEY;
  mt_torch_storage **found = bsearch(&wanted_at, sorted, count, sizeof *sorted, compare_storages);
  if (!found) return fail_file(f->path, "storage '%.*s' belongs to no tensor", shown, key->text);
  if ((*found)->offset >= 0) return fail_file(f->path, "storage '%.*s' is there twice", shown, key->text);
  if ((*found)->item == 0)
    return fail_file(f->path, "storage '%.*s' is a %s, of unknown size", shown, key->text, (*found)->type);
  int64_t items = 0;
  if (f->file_size - at < (int64_t)sizeof items) return fail_file(f->path, "%s", "it is truncated");
  if (read_range(f->file, f->path, at, &items, sizeof items) < 0) return -1;
  if (items != (*found)->count)
    return fail_file(f->path, "storage '%.*s' has %lld items, expected %lld", shown, key->text, (long long)items,
                     (long long)(*found)->count);
  const int64_t begin = at + (int64_t)sizeof items, bytes = items * (int64_t)(*found)->item;
  if (bytes > f->file_size - begin) return fail_file(f->path, "%s", "it is truncated");
  while (found > sorted && compare_storages(found - 1, found) == 0) found--;
  do (found++)[0]->offset = begin;
  while (found < sorted + count && compare_storages(found - 1, found) == 0);
  return bytes + (int64_t)sizeof items;
}

/* keys: of all storages, whose items stand one after the other from `at` on; NONE where there are none. */
static int locate_in_file(const pickles *f, const mt_torch_objects *o, const mt_pickle_value *keys, int64_t at) {
  const size_t n_keys = keys->kind == MT_PICKLE_LIST ? keys->items->count : 0;
  size_t count = 0;
  mt_torch_storage **sorted = storages_by_key(o, &count);
  if (!sorted) return -1;
  int64_t bytes = 0;
  for (size_t i = 0; bytes >= 0 && i < n_keys; i++) {
    bytes = locate_key(f, sorted, count, &keys->items->values[i], at);
    at += bytes;
  }
  for (size_t i = 0; bytes >= 0 && i < count; i++)
    if (sorted[i]->offset < 0) bytes = fail_file(f->path, "%s", "a tensor's storage is missing in the file");
  free(sorted);
  return bytes < 0 ? -1 : 0;
}

/* The first `size` bytes of the file hold the pickles; 1: they do not, there is more to read. */
static int read_pickles(const pickles *f, const uint8_t *bytes, size_t size, mt_weights *out) {
  mt_torch_objects objects = {.path = f->path};
  mt_torch_state state = {.objects = &objects, .file_size = f->file_size, .out = out};
  mt_pickle_value root, keys;
  mt_pickle *pickle = mt_pickle_new(bytes, size, f->path, &mt_torch_hooks, &objects);
  int status = pickle ? mt_torch_next_object(pickle, f->path, &root, &keys) : -1;
  const bool more = status < 0 && pickle && mt_pickle_ran_out(pickle) && (int64_t)size < f->file_size;
  if (status == 0) status = list_wanted(&state, &root, f->request);
  if (status == 0) status = locate_in_file(f, &objects, &keys, (int64_t)mt_pickle_position(pickle));
  if (status == 0) status = mt_torch_read_state(&state, f->file);
  mt_torch_state_free(&state);
  mt_pickle_free(pickle);
  mt_torch_objects_free(&objects);
  return more ? 1 : status < 0 ? -1 : 0;
}

/* Where the pickles end is known only when they are read: objects beside the weights may make them long. */
int mt_torch_read_pickles(FILE *file, const char *path, const mt_load_request *request, mt_weights *out) {
  struct stat info;
  if (fstat(fileno(file), &info) != 0 || !S_ISREG(info.st_mode))
    return mt_fail(MT_ERROR_IO, "load: '%s' is not a regular file", path);
  const pickles f = {.file = file, .path = path, .file_size = info.st_size, .request = request};
  int status = 1;
  for (int64_t limit = FIRST_READ; status == 1; limit *= 4) {
    const size_t size = (size_t)(f.file_size < limit ? f.file_size : limit);
    uint8_t *bytes = mt_alloc(size);
    status = bytes ? read_range(file, path, 0, bytes, size) : -1;
    if (status == 0) status = read_pickles(&f, bytes, size, out);
    mt_free(bytes);
  }
  return status;
}
