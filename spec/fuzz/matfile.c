/* MATLAB files, plain and compressed. */
#include "io/matfile.h"
#include "support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mt_weights arrays = {0};
  fuzz_limit_allocations(4 * 1032 * size + (1 << 16)); /* what deflate can hold, bytes made float32 */
  mt_matfile_read(data, size, "input", &arrays);
  mt_weights_free(&arrays);
  return 0;
}
