#include "io/md5.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static uint32_t rotate_left(uint32_t x, int bits) { return x << bits | x >> (32 - bits); }

static uint32_t load_le32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* RFC 1321, 3.4: the additive constant of step i is the integer part of 2^32 |sin(i + 1)|. */
static void make_constants(uint32_t constants[64]) {
  for (int i = 0; i < 64; i++) constants[i] = (uint32_t)floor(fabs(sin(i + 1)) * 4294967296.0);
}

static void digest_block(uint32_t state[4], const uint8_t block[64], const uint32_t constants[64]) {
  static const int shifts[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  for (int i = 0; i < 64; i++) {
    uint32_t mixed;
    int word;
    switch (i / 16) {
      case 0:
        mixed = (b & c) | (~b & d);
        word = i;
        break;
      case 1:
        mixed = (d & b) | (~d & c);
        word = (5 * i + 1) % 16;
        break;
      case 2:
        mixed = b ^ c ^ d;
        word = (3 * i + 5) % 16;
        break;
      default:
        mixed = c ^ (b | ~d);
        word = 7 * i % 16;
    }
    const uint32_t sum = a + mixed + constants[i] + load_le32(block + 4 * word);
    a = d;
    d = c;
    c = b;
    b += rotate_left(sum, shifts[i / 16][i % 4]);
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
}

void mt_md5(const void *data, size_t size, char out[33]) {
  const uint8_t *bytes = data;
  uint32_t constants[64];
  uint32_t state[4] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u};
  make_constants(constants);
  size_t done = 0;
  for (; size - done >= 64; done += 64) digest_block(state, bytes + done, constants);

  /* The rest, a one bit, zeros, and the length in bits: one or two blocks. */
  uint8_t tail[128] = {0};
  const size_t rest = size - done;
  const size_t tail_size = rest < 56 ? 64 : 128;
  if (rest) memcpy(tail, bytes + done, rest);
  tail[rest] = 0x80;
  for (int i = 0; i < 8; i++) tail[tail_size - 8 + (size_t)i] = (uint8_t)((uint64_t)size * 8 >> (8 * i));
  for (size_t at = 0; at < tail_size; at += 64) digest_block(state, tail + at, constants);

  for (int i = 0; i < 16; i++) snprintf(out + 2 * i, 3, "%02x", (unsigned)(state[i / 4] >> (8 * (i % 4)) & 0xff));
}
