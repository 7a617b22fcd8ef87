/* Sums in double precision (but for four numbers at a time, which are added as they are), extremes and their positions:
 * of n numbers in a row, or of `width` columns of n rows that are `step` apart. Everything adds up in an order that n
 * alone decides. */
#ifndef MT_KERNELS_REDUCE_H
#define MT_KERNELS_REDUCE_H

#include <stdint.h>

/* squares: of the distance from the centre. sum_products: of x[i] y[i].
 * The extreme (the largest for sign 1, the smallest for sign -1) is the first of several equal ones, or the first NaN;
 * extreme_row returns its position, extreme_columns stores positions plus `first`. */
#define MT_REDUCE_KERNELS(K)                                                                                         \
  K(double, sum_row, (const float *x, int64_t n))                                                                    \
  K(double, squares_row, (const float *x, int64_t n, double centre))                                                 \
  K(double, sum_products, (const float *x, const float *y, int64_t n))                                               \
  K(void, sum_columns, (const float *x, int64_t n, int64_t step, int width, double *sums))                           \
  K(void, squares_columns, (const float *x, int64_t n, int64_t step, int width, const double *centre, double *sums)) \
  K(int64_t, extreme_row, (const float *x, int64_t n, int sign))                                                     \
  K(void, extreme_columns,                                                                                           \
    (const float *x, int64_t n, int64_t step, int width, int sign, float *values, int32_t *positions))               \
  /* Whether all numbers are 1..most. */                                                                             \
  K(int, all_within, (const int32_t *number, int64_t n, int32_t most))

#endif
