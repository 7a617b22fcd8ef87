/* Matrix products, split over our threads (see core/threads.h).
 *
 * OpenBLAS computes them, except in two situations that it handles badly: distributions ship releases that do not know
 * newer processors and fall back to kernels five times slower; and under a limit on memory it tries for ever to get
 * its work buffers. Then the convolution's kernels do (a product is a 1x1 convolution): measured as fast as OpenBLAS's
 * best with AVX-512. Products with a vector, and of two vectors, have kernels of their own. */
#ifndef MT_OPS_GEMM_H
#define MT_OPS_GEMM_H

#include <stdbool.h>
#include <stdint.h>

typedef enum {
  MT_GEMM_NN, /* C (m,n) = A (m,k) B (k,n) */
  MT_GEMM_NT, /* C (m,n) = A (m,k) B^T, B stored (n,k) */
  MT_GEMM_TN  /* C (m,n) = A^T B (k,n), A stored (k,m) */
} mt_gemm_form;

/* All three stored row by row without gaps. add: C is added to, instead of overwritten.
 * Sizes must fit in 31 bits. -1 on memory shortage. */
int mt_gemm(mt_gemm_form form, int64_t m, int64_t n, int64_t k, const float *a, const float *b, bool add, float *c);

/* Whether OpenBLAS gets its work buffers: what calls LAPACK has to ask first. */
bool mt_blas_has_memory(void);

#endif
