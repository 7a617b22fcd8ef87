/* Plain loops: the compiler turns each into vector code of the instruction set this file is built for. One
 * loop per case of strides, because a stride known to be 0 or 1 is what lets it. */
#include "kernels/kernels.h"

#define LOOP(expression) _Pragma("GCC ivdep") for (int64_t i = 0; i < n; i++) out[i] = expression

#define ARITHMETIC(name, operator)                \
  void MT_KERNEL(name) MT_ARITHMETIC_PARAMETERS { \
    if (stride_a && stride_b) {                   \
      LOOP(a[i] operator b[i]);                   \
    } else if (stride_a) {                        \
      const float right = *b;                     \
      LOOP(a[i] operator right);                  \
    } else if (stride_b) {                        \
      const float left = *a;                      \
      LOOP(left operator b[i]);                   \
    } else {                                      \
      const float both = *a operator* b;          \
      LOOP(both);                                 \
    }                                             \
  }

ARITHMETIC(add, +)
ARITHMETIC(subtract, -)
ARITHMETIC(multiply, *)
ARITHMETIC(divide, /)
