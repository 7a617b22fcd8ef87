/* The reader of safetensors files, also for files that do not begin as one. */
#include "io/safetensors.h"
#include "support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mt_weights weights = {0};
  fuzz_limit_allocations(10 * size + (1 << 19));
  FILE *file = fopen(fuzz_file(data, size), "rb");
  mt_safetensors_read(file, "input", &(mt_load_request){0}, &weights);
  fclose(file);
  mt_weights_free(&weights);
  return 0;
}
