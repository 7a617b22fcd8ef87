/* Softmax and its kin over n numbers in a row, or over `width` columns of n rows that are `step` apart. */
#ifndef MT_KERNELS_SOFTMAX_H
#define MT_KERNELS_SOFTMAX_H

#include <stdint.h>

#define MT_SOFTMAX_COLUMNS 256 /* a block's width at most */

/* largest: NaN is passed over. exp_sum: sum exp(x[i] - shift). exp_row: y[i] = scale exp(x[i] - shift - log_sum). */
#define MT_SOFTMAX_KERNELS(K)                                                                                         \
  K(float, largest, (const float *x, int64_t n))                                                                      \
  K(double, exp_sum, (const float *x, int64_t n, float shift))                                                        \
  K(void, exp_row, (float *y, const float *x, int64_t n, float shift, float log_sum, float scale))                    \
  K(void, softmax, (float *y, const float *x, int64_t n))                                                             \
  K(void, log_softmax, (float *y, const float *x, int64_t n))                                                         \
  K(void, softmax_backward, (float *dx, const float *y, const float *dy, int64_t n))                                  \
  K(void, log_softmax_backward, (float *dx, const float *y, const float *dy, int64_t n))                              \
  K(void, softmax_columns, (float *y, const float *x, int64_t n, int64_t step, int width))                            \
  K(void, log_softmax_columns, (float *y, const float *x, int64_t n, int64_t step, int width))                        \
  K(void, softmax_backward_columns, (float *dx, const float *y, const float *dy, int64_t n, int64_t step, int width)) \
  K(void, log_softmax_backward_columns,                                                                               \
    (float *dx, const float *y, const float *dy, int64_t n, int64_t step, int width))

#endif
