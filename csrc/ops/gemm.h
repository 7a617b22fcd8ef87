/* Matrix products: OpenBLAS, split over our threads (see core/threads.h). */
#ifndef MT_OPS_GEMM_H
#define MT_OPS_GEMM_H

#include <stdbool.h>
#include <stdint.h>

/* C (m,n) = alpha * op(A) (m,k) * op(B) (k,n) + beta * C, row-major; op transposes where the flag is set.
 * lda, ldb, ldc: row lengths of the matrices as stored. Sizes must fit in 31 bits. */
void mt_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
             int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

/* The same on the calling thread only, for use inside a parallel region. */
void mt_gemm_serial(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                    int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

#endif
