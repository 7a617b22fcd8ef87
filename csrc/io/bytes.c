#include "io/bytes.h"

#include <string.h>

#include "core/error.h"
#include "core/memory.h"

int mt_bytes_reserve(mt_bytes *bytes, size_t capacity) {
  if (capacity <= bytes->capacity) return 0;
  uint8_t *data = mt_alloc(capacity);
  if (!data) return -1;
  if (bytes->size) memcpy(data, bytes->data, bytes->size);
  mt_free(bytes->data);
  bytes->data = data;
  bytes->capacity = capacity;
  return 0;
}

int mt_bytes_grow(mt_bytes *bytes, size_t limit) {
  const size_t doubled = bytes->capacity < 2048 ? 4096 : 2 * bytes->capacity;
  return mt_bytes_reserve(bytes, doubled < limit ? doubled : limit);
}

int mt_bytes_append(mt_bytes *bytes, const void *data, size_t size) {
  while (bytes->capacity - bytes->size < size) {
    if (mt_bytes_grow(bytes, SIZE_MAX) < 0) return -1;
  }
  if (size) memcpy(bytes->data + bytes->size, data, size);
  bytes->size += size;
  return 0;
}

void mt_bytes_free(mt_bytes *bytes) {
  mt_free(bytes->data);
  *bytes = (mt_bytes){0};
}
