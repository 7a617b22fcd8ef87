/* Plain loops: the compiler turns each into vector code of the instruction set this file is built for. One
 * loop per case of strides, because a stride known to be 0 or 1 is what lets it. Unrolled, because memory is read a
 * quarter faster so where one operand is in the cache. */
#include "kernels/kernels.h"

#define LOOP(expression) \
  _Pragma("GCC ivdep") _Pragma("GCC unroll 4") for (int64_t i = 0; i < n; i++) out[i] = expression

#define ARITHMETIC(name, result)                  \
  void MT_KERNEL(name) MT_ARITHMETIC_PARAMETERS { \
    if (stride_a && stride_b) {                   \
      LOOP(result(a[i], b[i]));                   \
    } else if (stride_a) {                        \
      const float right = *b;                     \
      LOOP(result(a[i], right));                  \
    } else if (stride_b) {                        \
      const float left = *a;                      \
      LOOP(result(left, b[i]));                   \
    } else {                                      \
      const float left = *a, right = *b;          \
      LOOP(result(left, right));                  \
    }                                             \
  }

#define SUM(x, y) (x) + (y)
#define DIFFERENCE(x, y) (x) - (y)
#define PRODUCT(x, y) (x) * (y)
#define QUOTIENT(x, y) (x) / (y)
/* x != x: NaN wins on either side. */
#define LARGER(x, y) (((x) > (y)) | ((x) != (x))) ? (x) : (y)
#define SMALLER(x, y) (((x) < (y)) | ((x) != (x))) ? (x) : (y)

ARITHMETIC(add, SUM)
ARITHMETIC(subtract, DIFFERENCE)
ARITHMETIC(multiply, PRODUCT)
ARITHMETIC(divide, QUOTIENT)
ARITHMETIC(maximum, LARGER)
ARITHMETIC(minimum, SMALLER)

/* The quotient, as PyTorch's ToTensor has it: the product with 1/255 differs in the last bit. With what that is off by,
 * in one rounding, it does not (spec/image/resize_spec.lua looks at all 256), and division is the slower way. */
void MT_KERNEL(bytes_to_unit)(float *to, const uint8_t *from, int64_t n) {
#ifdef __FMA__
  const float inverse = 1.0f / 255.0f;
  for (int64_t i = 0; i < n; i++) {
    const float value = (float)from[i], near = value * inverse;
    to[i] = __builtin_fmaf(__builtin_fmaf(near, -255.0f, value), inverse, near);
  }
#else
  for (int64_t i = 0; i < n; i++) to[i] = (float)from[i] / 255.0f;
#endif
}
