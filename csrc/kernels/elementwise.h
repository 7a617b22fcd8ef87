/* Element by element: out may be one of the inputs, but must not overlap them otherwise. */
#ifndef MT_KERNELS_ELEMENTWISE_H
#define MT_KERNELS_ELEMENTWISE_H

#include <stdint.h>

/* stride_a and stride_b are 1, or 0 for one number used n times. */
#define MT_ARITHMETIC_PARAMETERS \
  (float *out, const float *a, int64_t stride_a, const float *b, int64_t stride_b, int64_t n)
#define MT_POWER_GRADIENT_PARAMETERS \
  (float *out, const float *g, const float *a, int64_t stride_a, const float *b, int64_t stride_b, int64_t n)

#define MT_ELEMENTWISE_KERNELS(K)                                \
  K(void, add, MT_ARITHMETIC_PARAMETERS)                         \
  K(void, subtract, MT_ARITHMETIC_PARAMETERS)                    \
  K(void, multiply, MT_ARITHMETIC_PARAMETERS)                    \
  K(void, divide, MT_ARITHMETIC_PARAMETERS)                      \
  K(void, maximum, MT_ARITHMETIC_PARAMETERS)                     \
  K(void, minimum, MT_ARITHMETIC_PARAMETERS)                     \
  K(void, power, MT_ARITHMETIC_PARAMETERS)                       \
  /* The gradient g of a^b passed on to a and to b. */           \
  K(void, power_base_gradient, MT_POWER_GRADIENT_PARAMETERS)     \
  K(void, power_exponent_gradient, MT_POWER_GRADIENT_PARAMETERS) \
  /* 0..255 to [0,1]: each value / 255. */                       \
  K(void, bytes_to_unit, (float *to, const uint8_t *from, int64_t n))

#endif
