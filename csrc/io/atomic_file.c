#include "io/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"

struct mt_atomic_file {
  char *path;
  char *partial;
  FILE *stream;
};

static int fail_write(const char *path, int reason) {
  return mt_fail(MT_ERROR_IO, "cannot write '%s': %s", path, strerror(reason));
}

static void destroy(mt_atomic_file *file) {
  if (file->stream) fclose(file->stream);
  free(file->path);
  free(file->partial);
  free(file);
}

/* ---- opening ---- */

/* The name to replace: where a symbolic link points to, else the path itself. Devices and folders are refused: a
 * rename over them would do harm, or fail late. */
static char *resolve_target(const char *path) {
  struct stat info;
  if (stat(path, &info) != 0) return strdup(path);
  if (!S_ISREG(info.st_mode)) {
    mt_fail(MT_ERROR_IO, "cannot write '%s': it is not a regular file", path);
    return NULL;
  }
  return realpath(path, NULL);
}

static int same_file(int descriptor, const char *path) {
  struct stat opened, named;
  return fstat(descriptor, &opened) == 0 && stat(path, &named) == 0 && opened.st_dev == named.st_dev &&
         opened.st_ino == named.st_ino;
}

/* Opens and locks the temporary. Between open and lock another writer may have renamed it into place: then what we
 * hold is a published file, and we start over. */
static int open_locked(const char *path, const char *partial) {
  for (;;) {
    const int descriptor = open(partial, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (descriptor < 0) return fail_write(path, errno);
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
      close(descriptor);
      return mt_fail(MT_ERROR_IO, "cannot write '%s': another process is writing it", path);
    }
    if (same_file(descriptor, partial)) {
      if (ftruncate(descriptor, 0) == 0) return descriptor;
      const int reason = errno;
      close(descriptor);
      return fail_write(path, reason);
    }
    close(descriptor);
  }
}

static char *with_suffix(const char *path, const char *suffix) {
  const size_t size = strlen(path) + strlen(suffix) + 1;
  char *joined = malloc(size);
  if (joined) snprintf(joined, size, "%s%s", path, suffix);
  return joined;
}

mt_atomic_file *mt_atomic_open(const char *path) {
  char *target = resolve_target(path);
  if (!target) return NULL;
  mt_atomic_file *file = calloc(1, sizeof *file);
  char *partial = with_suffix(target, ".partial");
  if (!file || !partial) {
    free(file);
    free(partial);
    free(target);
    return mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot write '%s'", path);
  }
  file->path = target;
  file->partial = partial;
  const int descriptor = open_locked(target, partial);
  if (descriptor >= 0) file->stream = fdopen(descriptor, "wb");
  if (file->stream) return file;
  if (descriptor >= 0) {
    fail_write(path, errno);
    close(descriptor);
  }
  destroy(file);
  return NULL;
}

/* ---- writing and ending ---- */

int mt_atomic_write(mt_atomic_file *file, const void *data, size_t size) {
  if (size == 0 || fwrite(data, 1, size, file->stream) == size) return 0;
  return fail_write(file->path, errno);
}

/* After the rename the data is safe from a crash of the process; this makes the new name safe from one of the
 * machine. Some file systems cannot sync a folder: then there is nothing more to do. */
static void sync_folder_of(char *path) {
  const int folder = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  fsync(folder);
  close(folder);
}

int mt_atomic_commit(mt_atomic_file *file) {
  if (fflush(file->stream) != 0 || fsync(fileno(file->stream)) != 0 || rename(file->partial, file->path) != 0) {
    fail_write(file->path, errno);
    mt_atomic_abort(file);
    return -1;
  }
  sync_folder_of(file->partial); /* dirname changes its argument; the name is used up */
  destroy(file);
  return 0;
}

void mt_atomic_abort(mt_atomic_file *file) {
  unlink(file->partial);
  destroy(file);
}

int mt_write_file(const char *path, const void *data, size_t size) {
  mt_atomic_file *file = mt_atomic_open(path);
  if (!file) return -1;
  if (mt_atomic_write(file, data, size) < 0) {
    mt_atomic_abort(file);
    return -1;
  }
  return mt_atomic_commit(file);
}
