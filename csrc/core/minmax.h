/* The smaller and the larger of two sizes. */
#ifndef MT_CORE_MINMAX_H
#define MT_CORE_MINMAX_H

#include <stdint.h>

static inline int64_t mt_min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t mt_max64(int64_t a, int64_t b) { return a > b ? a : b; }

#endif
