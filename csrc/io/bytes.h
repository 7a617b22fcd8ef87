/* A growing run of bytes from the buffer pool. Zero-initialised it is empty; mt_bytes_free is always safe. */
#ifndef MT_IO_BYTES_H
#define MT_IO_BYTES_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
  uint8_t *data;
  size_t size, capacity;
} mt_bytes;

/* Makes room for `capacity` bytes in all, keeping the contents. */
int mt_bytes_reserve(mt_bytes *bytes, size_t capacity);
/* Doubles the capacity, but not beyond `limit` (which is larger than the present capacity). */
int mt_bytes_grow(mt_bytes *bytes, size_t limit);
int mt_bytes_append(mt_bytes *bytes, const void *data, size_t size);
void mt_bytes_free(mt_bytes *bytes);

#endif
