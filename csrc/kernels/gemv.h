/* Products of a matrix and a vector: every number of the matrix is used once, so they run as fast as it is read. Each
 * result adds up in an order that the matrix alone decides. */
#ifndef MT_KERNELS_GEMV_H
#define MT_KERNELS_GEMV_H

#include <stdbool.h>
#include <stdint.h>

#define MT_GEMV_KERNELS(K)                                                                          \
  /* y[i] = the sum over j of a[i n + j] x[j]; added to y[i] with `add`. */                         \
  K(void, gemv_rows, (float *y, const float *a, int64_t rows, int64_t n, const float *x, bool add)) \
  /* y[j] = the sum over i of x[i] a[i step + j], for `width` columns; added to y[j] with `add`. */ \
  K(void, gemv_columns, (float *y, const float *a, int64_t rows, int64_t step, const float *x, int64_t width, bool add))

#endif
