/* Both formats are a pickle that names storages by keys, and the storages' bytes:
 *   zip:     <any>/data.pkl, <any>/data/<key> for each storage, <any>/byteorder ("little"; missing in older ones);
 *   pickles: a magic number, the protocol 1001, a dict about the machine, the object, the list of keys; then for each
 *            key 8 bytes with the number of items, and the items. */
#include "io/torch_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "core/error.h"
#include "core/memory.h"
#include "io/torch_object.h"
#include "io/torch_state.h"
#include "io/zip.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "items are copied from files as they stand");

#define MAX_PICKLE ((int64_t)16 << 20) /* of a state dict with thousands of tensors: less than 1 MiB */
#define PROTOCOL 1001
#define MAX_KEY 256
static const char magic[10] = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

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

/* Pointers to all storages, those of one key side by side; references to one key must agree on what it is. Free it. */
static mt_torch_storage **storages_by_key(const mt_torch_objects *o) {
  mt_torch_storage **sorted = malloc((o->n_storages + 1) * sizeof *sorted);
  if (!sorted) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: load '%s'", o->path);
  for (size_t i = 0; i < o->n_storages; i++) sorted[i] = &o->storages[i];
  qsort(sorted, o->n_storages, sizeof *sorted, compare_storages);
  for (size_t i = 1; i < o->n_storages; i++) {
    const mt_torch_storage *s = sorted[i], *before = sorted[i - 1];
    if (compare_storages(&sorted[i - 1], &sorted[i]) == 0 &&
        (s->format != before->format || s->count != before->count)) {
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

static bool is_pickle(const mt_zip_entry *e) {
  const size_t length = strlen(PICKLE_NAME);
  if (e->name_size < length + 1 || memcmp(e->name + e->name_size - length, PICKLE_NAME, length) != 0) return false;
  const char *slash = memchr(e->name, '/', e->name_size);
  return slash && (size_t)(slash - e->name) + 1 + length == e->name_size;
}

static int find_pickle(archive *a) {
  for (size_t i = 0; i < a->zip->count; i++) {
    if (!is_pickle(&a->zip->entries[i])) continue;
    if (a->pickle) return fail_file(a->zip->path, "%s", "the zip archive holds more than one data.pkl");
    a->pickle = &a->zip->entries[i];
  }
  if (!a->pickle)
    return fail_file(a->zip->path, "%s", "the zip archive holds no data.pkl: torch.save did not write it");
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
  const int64_t bytes = s->count * (int64_t)s->format->size;
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
  mt_torch_storage **sorted = storages_by_key(o);
  if (!sorted) return -1;
  int status = 0;
  for (size_t i = 0; status == 0 && i < o->n_storages; i++) {
    if (i > 0 && compare_storages(&sorted[i - 1], &sorted[i]) == 0) {
      sorted[i]->offset = sorted[i - 1]->offset;
      sorted[i]->crc = sorted[i - 1]->crc;
    } else {
      status = locate_entry(a, sorted[i]);
    }
  }
  free(sorted);
  return status;
}

/* The bytes of data.pkl; NULL with an error. */
static uint8_t *read_pickle(archive *a, FILE *file) {
  int64_t offset;
  const size_t size = (size_t)a->pickle->size;
  if (a->pickle->size > MAX_PICKLE) {
    fail_file(a->zip->path, "data.pkl has %lld bytes, expected at most %lld", (long long)a->pickle->size,
              (long long)MAX_PICKLE);
    return NULL;
  }
  if (mt_zip_locate(a->zip, a->pickle, &offset) < 0) return NULL;
  uint8_t *bytes = mt_alloc(size);
  if (bytes && read_range(file, a->zip->path, offset, bytes, size) == 0) {
    if (a->pickle->crc == 0 || crc32_z(0, bytes, size) == a->pickle->crc) return bytes;
    fail_file(a->zip->path, "%s", "data.pkl is damaged (wrong checksum)");
  }
  mt_free(bytes);
  return NULL;
}

static int read_archive(archive *a, FILE *file, mt_weights *out) {
  a->name = malloc(a->folder + MAX_KEY + sizeof "byteorder");
  if (!a->name) return mt_fail(MT_ERROR_MEMORY, "out of memory: load '%s'", a->zip->path);
  uint8_t *bytes = check_byte_order(a, file) < 0 ? NULL : read_pickle(a, file);
  if (!bytes) return -1;
  mt_torch_objects objects = {.path = a->zip->path};
  mt_pickle_value root;
  mt_pickle *pickle = mt_pickle_new(bytes, (size_t)a->pickle->size, a->zip->path, &mt_torch_hooks, &objects);
  int status = pickle ? mt_pickle_next(pickle, &root) : -1;
  if (status == 0) status = locate_in_zip(a, &objects);
  if (status == 0) status = mt_torch_read_state(file, a->zip->file_size, &objects, &root, out);
  mt_pickle_free(pickle);
  mt_torch_objects_free(&objects);
  mt_free(bytes);
  return status;
}

int mt_torch_read_zip(FILE *file, const char *path, mt_weights *out) {
  mt_zip zip = {0};
  archive a = {.zip = &zip};
  int status = mt_zip_open(file, path, &zip);
  if (status == 0) status = find_pickle(&a);
  if (status == 0) status = read_archive(&a, file, out);
  free(a.name);
  mt_zip_close(&zip);
  return status;
}

/* ---- pickles ---- */

static int check_machine(const char *path, const mt_pickle_value *info) {
  if (info->kind != MT_PICKLE_DICT) return fail_file(path, "%s", "torch.save did not write it");
  for (size_t i = 0; i < info->items->count; i += 2) {
    const mt_pickle_value *key = &info->items->values[i];
    if (mt_pickle_is_text(key, "little_endian") && key[1].integer == 0)
      return fail_file(path, "%s", "its byte order is big-endian, expected little-endian");
  }
  return 0;
}

/* The three pickles before the object. */
static int read_preamble(mt_pickle *pickle, const char *path) {
  mt_pickle_value number, protocol, info;
  if (mt_pickle_next(pickle, &number) < 0) return -1;
  if (number.kind != MT_PICKLE_LONG || number.size != sizeof magic || memcmp(number.text, magic, sizeof magic) != 0)
    return fail_file(path, "%s", "it is a pickle, but not one that torch.save wrote");
  if (mt_pickle_next(pickle, &protocol) < 0) return -1;
  if (protocol.kind != MT_PICKLE_INTEGER || protocol.integer != PROTOCOL)
    return fail_file(path, "torch.save's protocol is not %d", PROTOCOL);
  return mt_pickle_next(pickle, &info) < 0 ? -1 : check_machine(path, &info);
}

/* The storages of one key have their items at `at`; returns how many bytes that are, -1 with an error. */
static int64_t locate_key(FILE *file, const mt_torch_objects *o, mt_torch_storage **sorted, const mt_pickle_value *key,
                          int64_t at, int64_t file_size) {
  const mt_torch_storage wanted = {.key = key->text, .key_size = key->size}, *wanted_at = &wanted;
  if (key->kind != MT_PICKLE_STRING)
    return fail_file(o->path, "a storage's key is %s, expected a string", mt_pickle_kind_name(key->kind));
  const int shown = key->size <= MAX_KEY ? (int)key->size : MAX_KEY;
  mt_torch_storage **found = bsearch(&wanted_at, sorted, o->n_storages, sizeof *sorted, compare_storages);
  if (!found) return fail_file(o->path, "storage '%.*s' belongs to no tensor", shown, key->text);
  if ((*found)->offset >= 0) return fail_file(o->path, "storage '%.*s' is there twice", shown, key->text);
  int64_t count = 0;
  if (file_size - at < (int64_t)sizeof count) return fail_file(o->path, "%s", "it is truncated");
  if (read_range(file, o->path, at, &count, sizeof count) < 0) return -1;
  if (count != (*found)->count)
    return fail_file(o->path, "storage '%.*s' has %lld items, expected %lld", shown, key->text, (long long)count,
                     (long long)(*found)->count);
  const int64_t begin = at + (int64_t)sizeof count, bytes = count * (int64_t)(*found)->format->size;
  if (bytes > file_size - begin) return fail_file(o->path, "%s", "it is truncated");
  while (found > sorted && compare_storages(found - 1, found) == 0) found--;
  do (found++)[0]->offset = begin;
  while (found < sorted + o->n_storages && compare_storages(found - 1, found) == 0);
  return bytes + (int64_t)sizeof count;
}

static int locate_in_file(FILE *file, const mt_torch_objects *o, const mt_pickle_value *keys, int64_t at,
                          int64_t file_size) {
  if (keys->kind != MT_PICKLE_LIST)
    return fail_file(o->path, "the keys of its storages are %s, expected a list", mt_pickle_kind_name(keys->kind));
  mt_torch_storage **sorted = storages_by_key(o);
  if (!sorted) return -1;
  int64_t bytes = 0;
  for (size_t i = 0; bytes >= 0 && i < keys->items->count; i++) {
    bytes = locate_key(file, o, sorted, &keys->items->values[i], at, file_size);
    at += bytes;
  }
  free(sorted);
  for (size_t i = 0; bytes >= 0 && i < o->n_storages; i++)
    if (o->storages[i].offset < 0) return fail_file(o->path, "%s", "a tensor's storage is missing in the file");
  return bytes < 0 ? -1 : 0;
}

static int read_objects(mt_pickle *pickle, mt_torch_objects *o, FILE *file, int64_t file_size, mt_weights *out) {
  mt_pickle_value root, keys;
  if (read_preamble(pickle, o->path) < 0 || mt_pickle_next(pickle, &root) < 0 || mt_pickle_next(pickle, &keys) < 0)
    return -1;
  const int64_t begin = (int64_t)mt_pickle_position(pickle);
  if (locate_in_file(file, o, &keys, begin, file_size) < 0) return -1;
  return mt_torch_read_state(file, file_size, o, &root, out);
}

int mt_torch_read_pickles(FILE *file, const char *path, mt_weights *out) {
  struct stat info;
  if (fstat(fileno(file), &info) != 0 || !S_ISREG(info.st_mode))
    return mt_fail(MT_ERROR_IO, "load: '%s' is not a regular file", path);
  const size_t size = (size_t)(info.st_size < MAX_PICKLE ? info.st_size : MAX_PICKLE);
  mt_torch_objects objects = {.path = path};
  uint8_t *bytes = mt_alloc(size);
  int status = bytes ? read_range(file, path, 0, bytes, size) : -1;
  mt_pickle *pickle = status == 0 ? mt_pickle_new(bytes, size, path, &mt_torch_hooks, &objects) : NULL;
  status = pickle ? read_objects(pickle, &objects, file, info.st_size, out) : -1;
  mt_pickle_free(pickle);
  mt_torch_objects_free(&objects);
  mt_free(bytes);
  return status;
}
