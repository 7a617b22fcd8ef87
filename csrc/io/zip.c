/* The directory stands at the end: an end record (with a comment of any length up to 65535 after it), before it, where
 * numbers are too large for it, a locator and a second end record in zip64. */
#include "io/zip.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/error.h"
#include "core/memory.h"

#define LOCAL_SIGNATURE 0x04034b50u
#define ENTRY_SIGNATURE 0x02014b50u
#define END_SIGNATURE 0x06054b50u
#define END64_SIGNATURE 0x06064b50u
#define LOCATOR_SIGNATURE 0x07064b50u
#define LOCAL_SIZE 30
#define ENTRY_SIZE 46
#define END_SIZE 22
#define END64_SIZE 56
#define LOCATOR_SIZE 20
#define MAX_COMMENT 65535
#define ZIP64_EXTRA 1
#define ENCRYPTED 1

typedef struct {
  uint64_t count, size, offset; /* of the directory */
} end_record;

#define fail_zip(zip, ...) fail_zip_at((zip)->path, __VA_ARGS__)
#define fail_zip_at(path, format, ...) mt_fail(MT_ERROR_FORMAT, "load: '%s': zip archive: " format, path, __VA_ARGS__)

bool mt_is_zip(const uint8_t *head, size_t size) { return size >= 4 && memcmp(head, "PK\3\4", 4) == 0; }

static uint64_t number(const uint8_t *bytes, int size) {
  uint64_t value = 0;
  for (int i = 0; i < size; i++) value |= (uint64_t)bytes[i] << 8 * i;
  return value;
}

/* Whether `size` bytes from `at` on lie inside `whole`. */
static bool inside(uint64_t at, uint64_t size, uint64_t whole) { return at <= whole && size <= whole - at; }

static int read_at(const mt_zip *zip, uint64_t at, void *into, size_t size) {
  if (!inside(at, size, (uint64_t)zip->file_size)) return fail_zip(zip, "%s", "it is truncated or damaged");
  if (fseeko(zip->file, (off_t)at, SEEK_SET) == 0 && fread(into, 1, size, zip->file) == size) return 0;
  if (ferror(zip->file)) return mt_fail(MT_ERROR_IO, "load: cannot read '%s': %s", zip->path, strerror(errno));
  return fail_zip(zip, "%s", "it is truncated");
}

/* ---- the end ---- */

/* The end record's place in the file. */
static int find_end(const mt_zip *zip, uint64_t *place, uint8_t end[END_SIZE]) {
  const int64_t most = END_SIZE + MAX_COMMENT;
  const size_t size = (size_t)(zip->file_size < most ? zip->file_size : most);
  uint8_t *tail = mt_alloc(size);
  if (!tail) return -1;
  int status = read_at(zip, (uint64_t)zip->file_size - size, tail, size);
  bool found = false;
  for (size_t at = size; status == 0 && !found && at >= END_SIZE; at--) {
    const uint8_t *record = tail + at - END_SIZE;
    found = number(record, 4) == END_SIGNATURE && number(record + 20, 2) == size - at;
    if (!found) continue;
    memcpy(end, record, END_SIZE);
    *place = (uint64_t)zip->file_size - size + at - END_SIZE;
  }
  mt_free(tail);
  if (status == 0 && !found) return fail_zip(zip, "%s", "it has no directory (it is truncated)");
  return status;
}

static int read_end(const mt_zip *zip, end_record *out) {
  uint8_t end[END_SIZE], locator[LOCATOR_SIZE], end64[END64_SIZE];
  uint64_t place = 0;
  if (find_end(zip, &place, end) < 0) return -1;
  *out = (end_record){number(end + 10, 2), number(end + 12, 4), number(end + 16, 4)};
  if (out->count != UINT16_MAX && out->size != UINT32_MAX && out->offset != UINT32_MAX) return 0;
  if (place < LOCATOR_SIZE || read_at(zip, place - LOCATOR_SIZE, locator, sizeof locator) < 0 ||
      number(locator, 4) != LOCATOR_SIGNATURE)
    return fail_zip(zip, "%s", "the zip64 end record is missing");
  if (read_at(zip, number(locator + 8, 8), end64, sizeof end64) < 0) return -1;
  if (number(end64, 4) != END64_SIGNATURE) return fail_zip(zip, "%s", "the zip64 end record is missing");
  *out = (end_record){number(end64 + 32, 8), number(end64 + 40, 8), number(end64 + 48, 8)};
  return 0;
}

/* ---- entries ---- */

/* The numbers that an entry keeps in its zip64 field, in their order, because they are too large for their own place.
 */
static int read_zip64(const mt_zip *zip, const uint8_t *extra, size_t size, uint64_t *numbers[3]) {
  size_t at = 0;
  while (size - at >= 4 && number(extra + at, 2) != ZIP64_EXTRA) {
    const size_t skip = 4 + number(extra + at + 2, 2);
    if (skip > size - at) return fail_zip(zip, "%s", "an entry's extra field is damaged");
    at += skip;
  }
  const size_t length = size - at >= 4 ? number(extra + at + 2, 2) : 0;
  if (length > size - at) return fail_zip(zip, "%s", "an entry's extra field is damaged");
  size_t used = 0;
  for (int i = 0; i < 3; i++) {
    if (*numbers[i] != UINT32_MAX) continue;
    if (length - used < 8) return fail_zip(zip, "%s", "an entry's zip64 field is too short");
    *numbers[i] = number(extra + at + 4 + used, 8);
    used += 8;
  }
  return 0;
}

/* One entry from the directory's `rest`; *used: its length there. */
static int parse_entry(const mt_zip *zip, const uint8_t *record, size_t rest, mt_zip_entry *entry, size_t *used) {
  if (rest < ENTRY_SIZE || number(record, 4) != ENTRY_SIGNATURE) return fail_zip(zip, "%s", "the directory is damaged");
  const size_t name_size = number(record + 28, 2), extra_size = number(record + 30, 2);
  *used = ENTRY_SIZE + name_size + extra_size + number(record + 32, 2);
  if (*used > rest) return fail_zip(zip, "%s", "the directory is damaged");
  uint64_t packed = number(record + 20, 4), size = number(record + 24, 4), header = number(record + 42, 4);
  uint64_t *numbers[3] = {&size, &packed, &header};
  if (read_zip64(zip, record + ENTRY_SIZE + name_size, extra_size, numbers) < 0) return -1;
  if (!inside(header, packed, (uint64_t)zip->file_size) || size > INT64_MAX)
    return fail_zip(zip, "'%.*s' lies outside of the file", (int)name_size, (const char *)record + ENTRY_SIZE);
  *entry = (mt_zip_entry){.name = (const char *)record + ENTRY_SIZE,
                          .name_size = name_size,
                          .header = (int64_t)header,
                          .size = (int64_t)size,
                          .crc = (uint32_t)number(record + 16, 4),
                          .method = (uint16_t)number(record + 10, 2),
                          .flags = (uint16_t)number(record + 8, 2)};
  if (entry->method == 0 && size != packed)
    return fail_zip(zip, "'%.*s' is stored, but has two sizes", (int)name_size, entry->name);
  return 0;
}

static int compare(const char *a, size_t a_size, const char *b, size_t b_size) {
  const int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
  return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

static int compare_entries(const void *a, const void *b) {
  const mt_zip_entry *p = a, *q = b;
  return compare(p->name, p->name_size, q->name, q->name_size);
}

/* Entries have places of their own, so their stored bytes together fit in the file. */
static int check_entries(const mt_zip *zip) {
  int64_t total = 0;
  for (size_t i = 0; i < zip->count; i++) {
    const mt_zip_entry *e = &zip->entries[i];
    if (i > 0 && compare_entries(e - 1, e) == 0)
      return fail_zip(zip, "'%.*s' is there twice", (int)e->name_size, e->name);
    if (e->method != 0) continue;
    total += e->size;
    if (total > zip->file_size) return fail_zip(zip, "%s", "entries overlap");
  }
  return 0;
}

static int read_directory(mt_zip *zip, const end_record *end) {
  if (!inside(end->offset, end->size, (uint64_t)zip->file_size) || end->count > end->size / ENTRY_SIZE)
    return fail_zip(zip, "%s", "the directory lies outside of the file");
  zip->directory = mt_alloc(end->size);
  zip->entries = calloc(end->count + 1, sizeof *zip->entries);
  if (!zip->directory || !zip->entries) return mt_fail(MT_ERROR_MEMORY, "out of memory: load '%s'", zip->path);
  if (read_at(zip, end->offset, zip->directory, end->size) < 0) return -1;
  size_t at = 0;
  for (size_t used = 0; zip->count < end->count; at += used) {
    if (parse_entry(zip, zip->directory + at, end->size - at, &zip->entries[zip->count], &used) < 0) return -1;
    zip->count++;
  }
  if (zip->count > 1) qsort(zip->entries, zip->count, sizeof *zip->entries, compare_entries);
  return check_entries(zip);
}

int mt_zip_open(FILE *file, const char *path, mt_zip *out) {
  struct stat info;
  end_record end;
  *out = (mt_zip){.file = file, .path = path};
  if (fstat(fileno(file), &info) != 0 || !S_ISREG(info.st_mode))
    return mt_fail(MT_ERROR_IO, "load: '%s' is not a regular file", path);
  out->file_size = info.st_size;
  return read_end(out, &end) < 0 ? -1 : read_directory(out, &end);
}

void mt_zip_close(mt_zip *zip) {
  mt_free(zip->directory);
  free(zip->entries);
  *zip = (mt_zip){0};
}

const mt_zip_entry *mt_zip_find(const mt_zip *zip, const char *name, size_t name_size) {
  const mt_zip_entry wanted = {.name = name, .name_size = name_size};
  return zip->count ? bsearch(&wanted, zip->entries, zip->count, sizeof wanted, compare_entries) : NULL;
}

int mt_zip_locate(const mt_zip *zip, const mt_zip_entry *entry, int64_t *offset) {
  uint8_t local[LOCAL_SIZE];
  if (entry->method != 0 || entry->flags & ENCRYPTED)
    return fail_zip(zip, "'%.*s' is %s, expected a stored entry", (int)entry->name_size, entry->name,
                    entry->flags & ENCRYPTED ? "encrypted" : "compressed");
  if (read_at(zip, (uint64_t)entry->header, local, sizeof local) < 0) return -1;
  const uint64_t at = (uint64_t)entry->header + LOCAL_SIZE + number(local + 26, 2) + number(local + 28, 2);
  if (number(local, 4) != LOCAL_SIGNATURE || !inside(at, (uint64_t)entry->size, (uint64_t)zip->file_size))
    return fail_zip(zip, "'%.*s' is damaged or truncated", (int)entry->name_size, entry->name);
  *offset = (int64_t)at;
  return 0;
}
