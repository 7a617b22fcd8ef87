/* Functions of one tensor and their gradients (kernels/math.h says how exact they are): y = f(x), dx = f'(x) dy, where
 * `saved` is f's input or output as ops/elementwise.h and ops/activation.h say. out may be one of the inputs. */
#ifndef MT_KERNELS_FUNCTIONS_H
#define MT_KERNELS_FUNCTIONS_H

#include <stdint.h>

#define MT_FUNCTION_KERNEL(K, name)                    \
  K(void, name, (float *y, const float *x, int64_t n)) \
  K(void, name##_backward, (float *dx, const float *saved, const float *dy, int64_t n))

#define MT_FUNCTION_KERNELS(K)                                                 \
  MT_FUNCTION_KERNEL(K, neg)                                                   \
  MT_FUNCTION_KERNEL(K, abs)                                                   \
  MT_FUNCTION_KERNEL(K, relu)                                                  \
  MT_FUNCTION_KERNEL(K, sqrt)                                                  \
  MT_FUNCTION_KERNEL(K, exp)                                                   \
  MT_FUNCTION_KERNEL(K, expm1)                                                 \
  MT_FUNCTION_KERNEL(K, log)                                                   \
  MT_FUNCTION_KERNEL(K, log1p)                                                 \
  MT_FUNCTION_KERNEL(K, sin)                                                   \
  MT_FUNCTION_KERNEL(K, cos)                                                   \
  MT_FUNCTION_KERNEL(K, tanh)                                                  \
  MT_FUNCTION_KERNEL(K, sigmoid)                                               \
  MT_FUNCTION_KERNEL(K, silu)                                                  \
  MT_FUNCTION_KERNEL(K, erf)                                                   \
  MT_FUNCTION_KERNEL(K, gelu)                                                  \
  MT_FUNCTION_KERNEL(K, gelu_by_tanh)                                          \
  K(void, clamp, (float *y, const float *x, int64_t n, float low, float high)) \
  K(void, clamp_backward, (float *dx, const float *x, const float *dy, int64_t n, float low, float high))

#endif
