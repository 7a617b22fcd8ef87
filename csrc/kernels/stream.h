/* Writing past the cache (core/stream.h says when, and why). */
#ifndef MT_KERNELS_STREAM_H
#define MT_KERNELS_STREAM_H

#include <stdint.h>

#define MT_STREAM_KERNELS(K)                                                   \
  K(void, stream, (void *to, const void *from, int64_t bytes))                 \
  /* Before another thread may read what was streamed: it is all in memory. */ \
  K(void, stream_done, (void))

#endif
