/* JPEG files with their EXIF data, whole and at smaller scales. */
#include "image/jpeg.h"
#include "support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const int64_t sizes[2][2] = {{0, 0}, {7, 5}};
  fuzz_limit_allocations(4 * 512 * size + (1 << 16)); /* 512 pixels a byte at most */
  mt_release(mt_jpeg_decode(data, size, 0, sizes[0], "input"));
  mt_release(mt_jpeg_decode(data, size, 3, sizes[1], "input"));
  return 0;
}
