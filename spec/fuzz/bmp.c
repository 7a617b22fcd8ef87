/* BMP files. */
#include "image/bmp.h"
#include "support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_limit_allocations(4 * 256 * size + (1 << 16)); /* runs: 256 pixels a byte at most */
  mt_release(mt_bmp_decode(data, size, 0, "input"));
  mt_release(mt_bmp_decode(data, size, 4, "input"));
  return 0;
}
