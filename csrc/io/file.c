#include "io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"

/* ---- reading ---- */

/* The capacity to start with: a regular file's size and one byte, which shows its end in the first read. */
static size_t expected_size(int descriptor, size_t limit) {
  struct stat info;
  if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode) || (size_t)info.st_size >= limit) return 0;
  return (size_t)info.st_size + 1;
}

/* Reads to the end, or until `out` holds `limit` bytes. */
static int read_up_to(int descriptor, const char *path, size_t limit, mt_bytes *out) {
  if (mt_bytes_reserve(out, out->size + expected_size(descriptor, limit - out->size)) < 0) return -1;
  while (out->size < limit) {
    if (out->size == out->capacity && mt_bytes_grow(out, limit) < 0) return -1;
    const ssize_t got = read(descriptor, out->data + out->size, out->capacity - out->size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return mt_fail(MT_ERROR_IO, "cannot read '%s': %s", path, strerror(errno));
    if (got == 0) return 0;
    out->size += (size_t)got;
  }
  return 0;
}

static int read_opened(const char *path, int flags, size_t max_bytes, mt_bytes *out) {
  const int descriptor = open(path, O_RDONLY | O_CLOEXEC | flags);
  if (descriptor < 0) return mt_fail(MT_ERROR_IO, "cannot open '%s': %s", path, strerror(errno));
  const size_t before = out->size;
  const size_t limit = max_bytes < SIZE_MAX - before ? before + max_bytes + 1 : SIZE_MAX;
  int status = read_up_to(descriptor, path, limit, out);
  close(descriptor);
  if (status == 0 && out->size - before > max_bytes)
    status = mt_fail(MT_ERROR_FORMAT, "cannot read '%s': it holds more than %zu bytes", path, max_bytes);
  if (status < 0) out->size = before;
  return status;
}

int mt_read_file(const char *path, size_t max_bytes, mt_bytes *out) { return read_opened(path, 0, max_bytes, out); }

/* Devices and FIFOs are not even opened; and whatever has taken a file's place since, opening it does not wait. */
static int refuse_irregular(const char *path) {
  const char *kind = mt_path_kind(path, NULL);
  if (!kind) return mt_fail(MT_ERROR_IO, "cannot open '%s': %s", path, strerror(errno));
  if (strcmp(kind, "file") == 0) return 0;
  return mt_fail(MT_ERROR_IO, "'%s' is a %s, expected a regular file", path, kind);
}

int mt_read_regular_file(const char *path, size_t max_bytes, mt_bytes *out) {
  return refuse_irregular(path) < 0 ? -1 : read_opened(path, O_NONBLOCK, max_bytes, out);
}

long mt_read_head(const char *path, void *into, size_t size) {
  if (refuse_irregular(path) < 0) return -1;
  const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return mt_fail(MT_ERROR_IO, "cannot open '%s': %s", path, strerror(errno));
  ssize_t got;
  do got = read(descriptor, into, size);
  while (got < 0 && errno == EINTR);
  if (got < 0) mt_fail(MT_ERROR_IO, "cannot read '%s': %s", path, strerror(errno));
  close(descriptor);
  return (long)got;
}

/* ---- names ---- */

const char *mt_path_kind(const char *path, mt_path_identity *identity) {
  struct stat info;
  if (stat(path, &info) != 0) return NULL;
  if (identity) *identity = (mt_path_identity){(uint64_t)info.st_dev, (uint64_t)info.st_ino};
  if (S_ISREG(info.st_mode)) return "file";
  if (S_ISDIR(info.st_mode)) return "folder";
  if (S_ISFIFO(info.st_mode)) return "FIFO";
  return S_ISSOCK(info.st_mode) ? "socket" : "device";
}

bool mt_file_exists(const char *path) { return access(path, F_OK) == 0; }

int64_t mt_file_size(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (int64_t)info.st_size : -1;
}

static int make_one(const char *path) {
  struct stat info;
  if (mkdir(path, 0777) == 0) return 0;
  const int reason = errno;
  if (reason == EEXIST && stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return 0;
  return mt_fail(MT_ERROR_IO, "cannot make folder '%s': %s", path, strerror(reason));
}

int mt_make_directory(const char *path) {
  char *prefix = strdup(path);
  if (!prefix) return mt_fail(MT_ERROR_MEMORY, "out of memory: make folder");
  int status = 0;
  for (char *slash = strchr(prefix + (*prefix == '/'), '/'); slash && status == 0; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    status = make_one(prefix);
    *slash = '/';
  }
  free(prefix);
  return status == 0 ? make_one(path) : status;
}

int mt_remove_file(const char *path) {
  if (unlink(path) == 0 || errno == ENOENT) return 0;
  return mt_fail(MT_ERROR_IO, "cannot remove '%s': %s", path, strerror(errno));
}

/* ---- folders ---- */

static int list_add(mt_name_list *list, const char *name) {
  if (list->count == list->capacity) {
    const size_t capacity = list->capacity ? 2 * list->capacity : 64;
    char **names = realloc(list->names, capacity * sizeof *names);
    if (!names) return mt_fail(MT_ERROR_MEMORY, "out of memory: list folder");
    list->names = names;
    list->capacity = capacity;
  }
  list->names[list->count] = strdup(name);
  if (!list->names[list->count]) return mt_fail(MT_ERROR_MEMORY, "out of memory: list folder");
  list->count++;
  return 0;
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int read_entries(DIR *folder, const char *path, mt_name_list *out) {
  for (;;) {
    errno = 0;
    const struct dirent *entry = readdir(folder);
    if (!entry) return errno ? mt_fail(MT_ERROR_IO, "cannot list folder '%s': %s", path, strerror(errno)) : 0;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (list_add(out, entry->d_name) < 0) return -1;
  }
}

int mt_list_directory(const char *path, mt_name_list *out) {
  DIR *folder = opendir(path);
  if (!folder) return mt_fail(MT_ERROR_IO, "cannot list folder '%s': %s", path, strerror(errno));
  const int status = read_entries(folder, path, out);
  closedir(folder);
  if (status < 0) mt_name_list_free(out);
  if (out->count) qsort(out->names, out->count, sizeof *out->names, compare_names);
  return status;
}

void mt_name_list_free(mt_name_list *list) {
  for (size_t i = 0; i < list->count; i++) free(list->names[i]);
  free(list->names);
  *list = (mt_name_list){0};
}
