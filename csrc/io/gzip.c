#include "io/gzip.h"

#include <limits.h>
#include <string.h>
#include <zlib.h>

#include "core/error.h"

#define GZIP_WINDOW (15 + 16) /* the largest window, gzip header and trailer */
#define MAX_RATIO 1032        /* deflate cannot shrink data more than this */

bool mt_is_gzip(const void *data, size_t size) { return size >= 2 && memcmp(data, "\x1f\x8b", 2) == 0; }

/* The trailer of a member ends with its length modulo 2^32: a good first capacity, if the data could be so long. */
static size_t length_hint(const uint8_t *data, size_t size) {
  if (size < 18) return 0;
  const uint8_t *trailer = data + size - 4;
  const size_t length = trailer[0] | (size_t)trailer[1] << 8 | (size_t)trailer[2] << 16 | (size_t)trailer[3] << 24;
  return length / MAX_RATIO <= size ? length : 0;
}

static int fail_inflate(const char *name, int code, const z_stream *stream) {
  if (code == Z_MEM_ERROR) return mt_fail(MT_ERROR_MEMORY, "out of memory: gunzip of '%s'", name);
  if (code == Z_BUF_ERROR) return mt_fail(MT_ERROR_FORMAT, "gunzip: '%s' is truncated", name);
  return mt_fail(MT_ERROR_FORMAT, "gunzip: '%s' is damaged (%s)", name, stream->msg ? stream->msg : "bad data");
}

/* Inflates one member into out, up to `limit` bytes in all. The stream's input moves on to what follows the member. */
static int inflate_member(z_stream *stream, const uint8_t *end, size_t limit, const char *name, mt_bytes *out) {
  for (;;) {
    if (out->size == out->capacity) {
      if (out->size == limit) return 0;
      if (mt_bytes_grow(out, limit) < 0) return -1;
    }
    const size_t room = out->capacity - out->size;
    const size_t left = (size_t)(end - stream->next_in);
    stream->avail_in = left < UINT_MAX ? (uInt)left : UINT_MAX;
    stream->avail_out = room < UINT_MAX ? (uInt)room : UINT_MAX;
    stream->next_out = out->data + out->size;
    const int code = inflate(stream, Z_NO_FLUSH);
    out->size = (size_t)(stream->next_out - out->data);
    if (code == Z_STREAM_END) return 0;
    if (code == Z_BUF_ERROR && stream->avail_out == 0) continue;
    if (code == Z_OK && (stream->next_in < end || stream->avail_out == 0)) continue;
    return fail_inflate(name, code == Z_OK ? Z_BUF_ERROR : code, stream);
  }
}

static int inflate_all(z_stream *stream, const uint8_t *data, size_t size, size_t limit, const char *name,
                       mt_bytes *out) {
  const uint8_t *end = data + size;
  stream->next_in = (Bytef *)(uintptr_t)data;
  while (stream->next_in < end && out->size < limit) {
    if (!mt_is_gzip(stream->next_in, (size_t)(end - stream->next_in))) {
      return mt_fail(MT_ERROR_FORMAT, "gunzip: '%s' has %zu bytes after the end of its data", name,
                     (size_t)(end - stream->next_in));
    }
    if (inflate_member(stream, end, limit, name, out) < 0) return -1;
    inflateReset(stream);
  }
  return 0;
}

int mt_gunzip(const void *data, size_t size, size_t max_bytes, const char *name, mt_bytes *out) {
  if (!mt_is_gzip(data, size)) return mt_fail(MT_ERROR_FORMAT, "gunzip: '%s' is not gzip data", name);
  const size_t before = out->size;
  const size_t limit = max_bytes < SIZE_MAX - before ? before + max_bytes + 1 : SIZE_MAX;
  const size_t hint = length_hint(data, size);
  /* One byte over, so that the end shows without another round. */
  if (hint < limit - before && mt_bytes_reserve(out, before + hint + 1) < 0) return -1;
  z_stream stream = {0};
  if (inflateInit2(&stream, GZIP_WINDOW) != Z_OK) return fail_inflate(name, Z_MEM_ERROR, &stream);
  int status = inflate_all(&stream, data, size, limit, name, out);
  inflateEnd(&stream);
  if (status == 0 && out->size - before > max_bytes)
    status = mt_fail(MT_ERROR_FORMAT, "gunzip: '%s' holds more than %zu bytes", name, max_bytes);
  if (status < 0) out->size = before;
  return status;
}

int mt_gzip(const void *data, size_t size, mt_bytes *out) {
  if (size > UINT_MAX / 2)
    return mt_fail(MT_ERROR_ARGUMENT, "gzip: %zu bytes, expected at most %u", size, UINT_MAX / 2);
  z_stream stream = {0};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    return mt_fail(MT_ERROR_MEMORY, "out of memory: gzip");
  const size_t bound = deflateBound(&stream, (uLong)size);
  int status = mt_bytes_reserve(out, out->size + bound);
  if (status == 0) {
    stream.next_in = (Bytef *)(uintptr_t)data;
    stream.avail_in = (uInt)size;
    stream.next_out = out->data + out->size;
    stream.avail_out = (uInt)bound;
    deflate(&stream, Z_FINISH); /* one call is enough: the output has the bound's size */
    out->size = (size_t)(stream.next_out - out->data);
  }
  deflateEnd(&stream);
  return status;
}
