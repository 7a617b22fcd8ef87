#define _GNU_SOURCE /* memfd_create */
#include "support.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"
#include "core/memory.h"
#include "core/threads.h"

static size_t limit;

void fuzz_limit_allocations(size_t bytes) { limit = bytes; }

/* ---- in place of core/memory.c and core/threads.c ---- */

void *mt_alloc(size_t bytes) {
  void *buffer = NULL;
  if (bytes > limit) {
    fprintf(stderr, "an allocation of %zu bytes, expected at most %zu\n", bytes, limit);
    abort();
  }
  if (posix_memalign(&buffer, 64, bytes ? bytes : 1) != 0) return mt_fail_null(MT_ERROR_MEMORY, "out of memory");
  return buffer;
}

void mt_free(void *buffer) { free(buffer); }

int mt_num_threads(void) { return 1; }

int64_t mt_chunk(int64_t n, int64_t cost, int64_t grain) {
  (void)cost;
  (void)grain;
  return n;
}

void mt_parallel(int64_t n, int64_t chunk, mt_loop_body *body, const void *context) {
  (void)chunk;
  if (n > 0) body(context, 0, n);
}

/* ---- files ---- */

static void write_all(int descriptor, const uint8_t *data, size_t size) {
  while (size > 0) {
    const ssize_t written = write(descriptor, data, size);
    if (written < 0) abort();
    data += written;
    size -= (size_t)written;
  }
}

const char *fuzz_file(const uint8_t *data, size_t size) {
  static int descriptor = -1;
  static char path[64];
  if (descriptor < 0) {
    descriptor = memfd_create("input", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
  }
  if (descriptor < 0 || ftruncate(descriptor, 0) != 0 || lseek(descriptor, 0, SEEK_SET) != 0) abort();
  write_all(descriptor, data, size);
  return path;
}
