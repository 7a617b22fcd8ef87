/* PBM, PGM and PPM files. */
#include "image/pnm.h"
#include "support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_limit_allocations(4 * 1024 * (size + 1) + (1 << 16)); /* as text: 1024 pixels a byte at most */
  mt_release(mt_pnm_decode(data, size, 0, "input"));
  mt_release(mt_pnm_decode(data, size, 4, "input"));
  return 0;
}
