/* gzip in memory through zlib. */
#ifndef MT_IO_GZIP_H
#define MT_IO_GZIP_H

#include <stdbool.h>
#include <stddef.h>

#include "io/bytes.h"

/* Whether the bytes start like a gzip file. */
bool mt_is_gzip(const void *data, size_t size);

/* Appends the uncompressed contents of all members to `out`. Truncated or damaged data, anything after the last
 * member, and more than max_bytes of result (SIZE_MAX: no limit) are errors; `name` stands for the data in messages.
 * An error leaves `out` with the contents it had. */
int mt_gunzip(const void *data, size_t size, size_t max_bytes, const char *name, mt_bytes *out);

int mt_gzip(const void *data, size_t size, mt_bytes *out);

#endif
