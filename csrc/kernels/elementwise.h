/* Element by element: out may be one of the inputs, but must not overlap them otherwise. */
#ifndef MT_KERNELS_ELEMENTWISE_H
#define MT_KERNELS_ELEMENTWISE_H

#include <stdint.h>

/* stride_a and stride_b are 1, or 0 for one number used n times. */
#define MT_ARITHMETIC_PARAMETERS \
  (float *out, const float *a, int64_t stride_a, const float *b, int64_t stride_b, int64_t n)

/* relu keeps NaN; relu_backward: dx = dy where y (the input or the output of relu) is not <= 0, else 0. clamp_backward:
 * dx = dy where x is strictly between low and high, else 0. */
#define MT_ELEMENTWISE_KERNELS(K)                                                 \
  K(void, add, MT_ARITHMETIC_PARAMETERS)                                          \
  K(void, subtract, MT_ARITHMETIC_PARAMETERS)                                     \
  K(void, multiply, MT_ARITHMETIC_PARAMETERS)                                     \
  K(void, divide, MT_ARITHMETIC_PARAMETERS)                                       \
  K(void, relu, (float *y, const float *x, int64_t n))                            \
  K(void, relu_backward, (float *dx, const float *y, const float *dy, int64_t n)) \
  K(void, clamp_backward, (float *dx, const float *x, const float *dy, float low, float high, int64_t n))

#endif
