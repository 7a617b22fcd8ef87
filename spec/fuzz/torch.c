/* Files of torch.save, in both formats: the zip archive and the run of pickles. Each is asked for what is most likely
 * meant, for a part of it, and for its metadata. */
#include "io/torch_file.h"
#include "support.h"

static void read_as(const mt_load_request *request, const uint8_t *data, size_t size) {
  mt_weights weights = {0};
  FILE *file = fopen(fuzz_file(data, size), "rb");
  if (mt_is_torch_zip(data, size))
    mt_torch_read_zip(file, "input", request, &weights);
  else
    mt_torch_read_pickles(file, "input", request, &weights);
  fclose(file);
  mt_weights_free(&weights);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_limit_allocations(10 * size + (18 << 20)); /* what is always allowed (io/torch_state.c), and some more */
  read_as(&(mt_load_request){0}, data, size);
  read_as(&(mt_load_request){.key = "model.module.stem.1"}, data, size);
  read_as(&(mt_load_request){.metadata_only = true}, data, size);
  return 0;
}
