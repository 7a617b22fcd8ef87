#include "core/stream.h"

#include <string.h>

#include "core/machine.h"

#define UNKNOWN_CACHE ((size_t)32 << 20)

bool mt_streams(size_t result, size_t operands) {
#if defined(__SSE2__)
  const size_t known = (size_t)mt_machine_cache(), cache = known > 0 ? known : UNKNOWN_CACHE;
  return result >= cache / 4 && result + operands > cache + cache / 8;
#else
  (void)result, (void)operands;
  return false; /* no instructions for it here */
#endif
}

void mt_copy_out(bool streams, void *to, const void *from, int64_t bytes) {
  if (streams) {
    mt_kernels->stream(to, from, bytes);
    mt_kernels->stream_done();
  } else {
    memcpy(to, from, (size_t)bytes);
  }
}
