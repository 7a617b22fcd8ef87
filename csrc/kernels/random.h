/* Whole blocks of four random numbers: those of the blocks counter, counter + 1, ... of Philox4x32-10's stream `seed`
 * (core/random.h), as bits, as uniform numbers in [0, 1) with 24 bits, or as normal ones. */
#ifndef MT_KERNELS_RANDOM_H
#define MT_KERNELS_RANDOM_H

#include <stdint.h>

#define MT_RANDOM_KERNELS(K)                                                              \
  K(void, random_bits, (uint32_t * out, int64_t blocks, uint64_t seed, uint64_t counter)) \
  K(void, random_uniform, (float *out, int64_t blocks, uint64_t seed, uint64_t counter))  \
  K(void, random_normal, (float *out, int64_t blocks, uint64_t seed, uint64_t counter))

#endif
