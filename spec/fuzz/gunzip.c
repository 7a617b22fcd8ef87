/* mt_gunzip */
#include "io/gzip.h"
#include "support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mt_bytes out = {0};
  fuzz_limit_allocations(10 * 1032 * size + (1 << 16)); /* deflate shrinks 1032 times at most */
  mt_gunzip(data, size, SIZE_MAX, "input", &out);
  mt_bytes_free(&out);
  mt_gunzip(data, size, 1000, "input", &out);
  mt_bytes_free(&out);
  return 0;
}
