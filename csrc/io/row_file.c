/* Invariants: a check is written after its row; checks[] holds what the file holds, but 0 for rows of an earlier
 * process that turned out damaged; `present` counts those that are not 0. verified[] says which rows this process has
 * written or seen to be right: only those may become part of a whole file. */
#include "io/row_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

#include "core/error.h"
#include "core/memory.h"

struct mt_row_file {
  int refs; /* of the host's thread alone */
  char *path, *partial;
  int descriptor;
  int64_t count;
  size_t row_bytes, header_size;
  bool was_whole;         /* when it was opened: checks are not looked at */
  atomic_bool is_renamed; /* it is whole since */
  _Atomic uint32_t *checks;
  _Atomic uint8_t *verified;
  _Atomic int64_t present;
  pthread_mutex_t finishing;
};

/* ---- bytes ---- */

static int read_at(const char *path, int descriptor, void *into, size_t size, off_t at) {
  for (size_t done = 0; done < size;) {
    const ssize_t got = pread(descriptor, (char *)into + done, size - done, at + (off_t)done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return mt_fail(MT_ERROR_IO, "cannot read '%s': %s", path, strerror(errno));
    if (got == 0) return mt_fail(MT_ERROR_FORMAT, "cannot read '%s': the file is truncated", path);
    done += (size_t)got;
  }
  return 0;
}

static int write_at(const char *path, int descriptor, const void *from, size_t size, off_t at) {
  for (size_t done = 0; done < size;) {
    const ssize_t put = pwrite(descriptor, (const char *)from + done, size - done, at + (off_t)done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return mt_fail(MT_ERROR_IO, "cannot write '%s': %s", path, strerror(errno));
    done += (size_t)put;
  }
  return 0;
}

static off_t row_at(const mt_row_file *f, int64_t i) { return (off_t)(f->header_size + (size_t)i * f->row_bytes); }
static off_t checks_at(const mt_row_file *f) { return row_at(f, f->count); }
static off_t file_size(const mt_row_file *f) { return checks_at(f) + (off_t)(f->count * 4); }

static uint32_t check_of(const void *row, size_t size) {
  const uint32_t sum = (uint32_t)crc32_z(0, row, size);
  return sum ? sum : 1; /* 0 says that there is no row */
}

/* ---- opening ---- */

static int check_header(const mt_row_file *f, const char *name, const void *header) {
  struct stat info;
  char *there = mt_alloc(f->header_size);
  if (!there) return -1;
  int status = fstat(f->descriptor, &info);
  if (status < 0) mt_fail(MT_ERROR_IO, "cannot read '%s': %s", name, strerror(errno));
  if (status == 0 && info.st_size != file_size(f))
    status = mt_fail(MT_ERROR_FORMAT,
                     "'%s' has %lld bytes, expected %lld: it was made for something else; remove it, "
                     "or use another folder",
                     name, (long long)info.st_size, (long long)file_size(f));
  if (status == 0) status = read_at(name, f->descriptor, there, f->header_size, 0);
  if (status == 0 && memcmp(there, header, f->header_size) != 0)
    status = mt_fail(MT_ERROR_FORMAT, "'%s' was made with other settings; remove it, or use another folder", name);
  mt_free(there);
  return status;
}

static int read_checks(mt_row_file *f, const char *name) {
  if (read_at(name, f->descriptor, (void *)f->checks, (size_t)f->count * 4, checks_at(f)) < 0) return -1;
  for (int64_t i = 0; i < f->count; i++) f->present += f->checks[i] != 0;
  return 0;
}

/* The header comes last: a file without it is one that was never begun. */
static int begin(mt_row_file *f, const void *header) {
  if (ftruncate(f->descriptor, 0) != 0 || ftruncate(f->descriptor, file_size(f)) != 0)
    return mt_fail(MT_ERROR_IO, "cannot write '%s': %s", f->partial, strerror(errno));
  return write_at(f->partial, f->descriptor, header, f->header_size, 0);
}

static bool is_begun(const mt_row_file *f) {
  struct stat info;
  uint8_t first[8], none[8] = {0};
  return fstat(f->descriptor, &info) == 0 && info.st_size >= 8 && pread(f->descriptor, first, 8, 0) == 8 &&
         memcmp(first, none, 8) != 0;
}

static int open_partial(mt_row_file *f, const void *header, bool shared) {
  f->descriptor = open(f->partial, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (f->descriptor < 0) return mt_fail(MT_ERROR_IO, "cannot write '%s': %s", f->partial, strerror(errno));
  if (flock(f->descriptor, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0)
    return mt_fail(MT_ERROR_IO, "cannot write '%s': it is in use, by another process or twice by this one", f->partial);
  if (!is_begun(f)) return begin(f, header);
  return check_header(f, f->partial, header) < 0 ? -1 : read_checks(f, f->partial);
}

static int open_whole(mt_row_file *f, const void *header) {
  if (check_header(f, f->path, header) < 0) return -1;
  f->was_whole = true;
  f->is_renamed = true;
  f->present = f->count;
  return 0;
}

static mt_row_file *new_file(const char *path, size_t header_size, int64_t count, size_t row_bytes) {
  mt_row_file *f = calloc(1, sizeof *f);
  const size_t name_size = strlen(path) + sizeof ".partial";
  if (!f) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot open '%s'", path);
  *f = (mt_row_file){.refs = 1, .descriptor = -1, .count = count, .row_bytes = row_bytes, .header_size = header_size};
  pthread_mutex_init(&f->finishing, NULL);
  f->path = strdup(path);
  f->partial = malloc(name_size);
  f->checks = mt_alloc((size_t)count * sizeof *f->checks);
  f->verified = mt_alloc((size_t)count);
  if (!f->path || !f->partial || !f->checks || !f->verified) {
    mt_row_file_release(f);
    return mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot open '%s'", path);
  }
  snprintf(f->partial, name_size, "%s.partial", path);
  memset((void *)f->checks, 0, (size_t)count * sizeof *f->checks);
  memset((void *)f->verified, 0, (size_t)count);
  return f;
}

mt_row_file *mt_row_file_open(const char *path, const void *header, size_t header_size, int64_t count, size_t row_bytes,
                              bool shared) {
  mt_row_file *f = new_file(path, header_size, count, row_bytes);
  if (!f) return NULL;
  f->descriptor = open(path, O_RDONLY | O_CLOEXEC);
  int status;
  if (f->descriptor >= 0)
    status = open_whole(f, header);
  else if (errno == ENOENT)
    status = open_partial(f, header, shared);
  else
    status = mt_fail(MT_ERROR_IO, "cannot open '%s': %s", path, strerror(errno));
  if (status == 0) return f;
  mt_row_file_release(f);
  return NULL;
}

mt_row_file *mt_row_file_retain(mt_row_file *f) {
  f->refs++;
  return f;
}

void mt_row_file_release(mt_row_file *f) {
  if (!f || --f->refs > 0) return;
  if (f->descriptor >= 0) close(f->descriptor);
  free(f->path);
  free(f->partial);
  mt_free((void *)f->checks);
  mt_free((void *)f->verified);
  pthread_mutex_destroy(&f->finishing);
  free(f);
}

int64_t mt_row_file_count(const mt_row_file *f) { return f->count; }
size_t mt_row_file_row_bytes(const mt_row_file *f) { return f->row_bytes; }
int64_t mt_row_file_present(const mt_row_file *f) { return f->present; }

/* ---- rows ---- */

static void forget(mt_row_file *f, int64_t i) {
  if (atomic_exchange(&f->checks[i], 0) != 0) f->present--;
}

int mt_row_file_get(mt_row_file *f, int64_t i, void *row) {
  const uint32_t check = f->was_whole ? 1 : f->checks[i];
  if (!check) return 0;
  if (read_at(f->is_renamed ? f->path : f->partial, f->descriptor, row, f->row_bytes, row_at(f, i)) < 0) return -1;
  if (f->was_whole || f->verified[i]) return 1;
  if (check_of(row, f->row_bytes) != check) {
    forget(f, i);
    return 0;
  }
  f->verified[i] = 1;
  return 1;
}

/* Rows that an earlier process wrote are looked at once more, as after a crash of the machine some may be lost. */
static int verify_all(mt_row_file *f) {
  void *row = mt_alloc(f->row_bytes);
  if (!row) return -1;
  int status = 0;
  for (int64_t i = 0; i < f->count && status >= 0; i++)
    if (!f->verified[i]) status = mt_row_file_get(f, i, row);
  mt_free(row);
  return status < 0 ? -1 : 0;
}

static int fail_finish(const mt_row_file *f) {
  return mt_fail(MT_ERROR_IO, "cannot write '%s': %s", f->path, strerror(errno));
}

/* After the rename the data is safe from a crash of the process; syncing the folder makes the new name safe from one of
 * the machine, where the file system can do that. */
static int publish(mt_row_file *f) {
  if (fsync(f->descriptor) != 0 || rename(f->partial, f->path) != 0) return fail_finish(f);
  f->is_renamed = true;
  char *name = strdup(f->path);
  const int folder = name ? open(dirname(name), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  free(name);
  if (folder < 0) return 0;
  fsync(folder);
  close(folder);
  return 0;
}

static int finish(mt_row_file *f) {
  int status = 0;
  pthread_mutex_lock(&f->finishing);
  if (!f->is_renamed && (status = verify_all(f)) == 0 && f->present == f->count) status = publish(f);
  pthread_mutex_unlock(&f->finishing);
  return status;
}

int mt_row_file_put(mt_row_file *f, int64_t i, const void *row) {
  const uint32_t check = check_of(row, f->row_bytes);
  if (f->is_renamed) return 0;
  if (write_at(f->partial, f->descriptor, row, f->row_bytes, row_at(f, i)) < 0 ||
      write_at(f->partial, f->descriptor, &check, 4, checks_at(f) + (off_t)(i * 4)) < 0)
    return -1;
  f->verified[i] = 1;
  if (atomic_exchange(&f->checks[i], check) == 0) f->present++;
  return f->present == f->count ? finish(f) : 0;
}
