/* Loops over rows whose elements are 1 or 0 apart (or anything else): written once, built for each case, because a
 * stride that is known to be 0 or 1 is what lets the compiler make vector code of them.
 *
 *   MT_FOR_STRIDES(n, stride_a, stride_b, out[i] = a[i * A] < b[i * B]); */
#ifndef MT_OPS_STRIDES_H
#define MT_OPS_STRIDES_H

#include <stdint.h>

#define MT_STRIDED_LOOP_(n, stride_a, stride_b, ...)                    \
  {                                                                     \
    const int64_t A = stride_a, B = stride_b;                           \
    (void)A, (void)B;                                                   \
    _Pragma("GCC ivdep") for (int64_t i = 0; i < (n); i++) __VA_ARGS__; \
  }

#define MT_FOR_STRIDES(n, stride_a, stride_b, ...)         \
  do {                                                     \
    if ((stride_a) == 1 && (stride_b) == 1)                \
      MT_STRIDED_LOOP_(n, 1, 1, __VA_ARGS__)               \
    else if ((stride_a) == 1 && (stride_b) == 0)           \
      MT_STRIDED_LOOP_(n, 1, 0, __VA_ARGS__)               \
    else if ((stride_a) == 0 && (stride_b) == 1)           \
      MT_STRIDED_LOOP_(n, 0, 1, __VA_ARGS__)               \
    else                                                   \
      MT_STRIDED_LOOP_(n, stride_a, stride_b, __VA_ARGS__) \
  } while (0)

#endif
