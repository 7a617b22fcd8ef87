#ifndef MT_KERNELS_TRANSPOSE_H
#define MT_KERNELS_TRANSPOSE_H

#include <stdint.h>

/* to[c * to_step + r] = from[r * from_step + c] for r < rows, c < columns. */
#define MT_TRANSPOSE_KERNELS(K) \
  K(void, transpose,            \
    (uint32_t * to, int64_t to_step, const uint32_t *from, int64_t from_step, int64_t rows, int64_t columns))

#endif
