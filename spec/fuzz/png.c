/* PNG files. Chunks get right checksums after three of four mutations, else hardly one would be looked into. */
#include "image/png.h"

#include <string.h>
#include <zlib.h>

#include "support.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);

static uint32_t big_endian(const uint8_t *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void put_big_endian(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void mend_checksums(uint8_t *data, size_t size) {
  for (size_t at = 8; size >= 12 && at <= size - 12;) {
    const size_t length = big_endian(data + at);
    if (length > size - 12 - at) return;
    put_big_endian(data + at + 8 + length, (uint32_t)crc32(0, data + at + 4, (uInt)length + 4));
    at += 12 + length;
  }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
  size = LLVMFuzzerMutate(data, size, most);
  if (seed % 4) mend_checksums(data, size);
  return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_limit_allocations(32 * 1032 * size + (1 << 16)); /* what deflate can hold, at one bit a pixel, as RGBA */
  mt_release(mt_png_decode(data, size, 0, "input"));
  mt_release(mt_png_decode(data, size, 1, "input"));
  return 0;
}
