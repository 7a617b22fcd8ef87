/* The smaller and the larger of two sizes; a size made up to whole ones. */
#ifndef MT_CORE_MINMAX_H
#define MT_CORE_MINMAX_H

#include <stdint.h>

static inline int64_t mt_min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t mt_max64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t mt_round_up64(int64_t size, int64_t whole) { return (size + whole - 1) / whole * whole; }

#endif
