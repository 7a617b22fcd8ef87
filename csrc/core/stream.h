/* Results too large for the cache are written past it ("streamed").
 *
 * A processor reads a line of memory before it writes to it, unless it is told that the whole line will be written and
 * that nobody will read it soon. For a result that the cache could not keep anyway, that saves a third of what add
 * moves, half of what copying moves, and leaves the operands in the cache.
 *
 * Rules: a streamed result is none of the operands (in-place operations do not stream); a thread that has streamed
 * calls mt_kernels->stream_done() before its part of a loop ends. */
#ifndef MT_CORE_STREAM_H
#define MT_CORE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* Whether a result of so many bytes is streamed, computed from so many others: when all together clearly exceed the
 * last cache, and the result is no small part of it. */
bool mt_streams(size_t result, size_t operands);

/* memcpy, or past the cache. Without overlap. */
void mt_copy_out(bool streams, void *to, const void *from, int64_t bytes);

#define MT_STREAM_BYTES 2048 /* at a time: they go by way of the nearest cache */

/* Runs `...`, which writes `count` values to `out`, those that belong at to[at], once for all n of them, or piece by
 * piece where they are streamed:
 *
 *   MT_WRITE(float, streams, y, n, mt_kernels->exp(out, x + at, count)); */
#define MT_WRITE(type, streams, to, n, ...)                                   \
  do {                                                                        \
    type *const all_ = (to);                                                  \
    const int64_t n_ = (n), piece_ = MT_STREAM_BYTES / (int64_t)sizeof(type); \
    if (!(streams)) {                                                         \
      type *const out = all_;                                                 \
      const int64_t at = 0, count = n_;                                       \
      (void)at;                                                               \
      __VA_ARGS__;                                                            \
    } else {                                                                  \
      _Alignas(64) type out[MT_STREAM_BYTES / sizeof(type)];                  \
      for (int64_t at = 0; at < n_; at += piece_) {                           \
        const int64_t count = n_ - at < piece_ ? n_ - at : piece_;            \
        __VA_ARGS__;                                                          \
        mt_kernels->stream(all_ + at, out, count * (int64_t)sizeof(type));    \
      }                                                                       \
      mt_kernels->stream_done();                                              \
    }                                                                         \
  } while (0)

#endif
