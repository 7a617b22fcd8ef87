/* Files of torch.save, in both formats: the zip archive and the run of pickles. */
#include "io/torch_file.h"
#include "support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mt_weights weights = {0};
  fuzz_limit_allocations(10 * size + (1 << 19));
  FILE *file = fopen(fuzz_file(data, size), "rb");
  if (mt_is_torch_zip(data, size))
    mt_torch_read_zip(file, "input", &weights);
  else
    mt_torch_read_pickles(file, "input", &weights);
  fclose(file);
  mt_weights_free(&weights);
  return 0;
}
