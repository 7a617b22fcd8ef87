#include "ops/gemm.h"

#include <cblas.h>
#include <string.h>

#include "core/threads.h"

/* Under this many multiply-adds a second thread costs more than it brings. */
#define PARALLEL_FROM ((int64_t)1 << 17)
#define SPLIT_ALIGNMENT 16 /* OpenBLAS packs in panels of 16: keep the cut on a panel's border */

/* OpenBLAS keeps its own pool; with one thread it runs on the caller's, as core/threads.h promises. */
__attribute__((constructor)) static void blas_single_thread(void) { openblas_set_num_threads(1); }

void mt_gemm_serial(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                    int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
  if (m <= 0 || n <= 0) return;
  if (k <= 0) { /* an empty sum: cblas rejects some of its leading dimensions */
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < n; j++) c[i * ldc + j] = beta == 0.0f ? 0.0f : beta * c[i * ldc + j];
    return;
  }
  cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, (int)m,
              (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

/* Piece `index` of `total` rows cut into `pieces`, on panel borders. */
static void piece(int64_t total, int pieces, int index, int64_t *begin, int64_t *end) {
  const int64_t panels = (total + SPLIT_ALIGNMENT - 1) / SPLIT_ALIGNMENT;
  *begin = panels * index / pieces * SPLIT_ALIGNMENT;
  *end = panels * (index + 1) / pieces * SPLIT_ALIGNMENT;
  if (*end > total) *end = total;
}

void mt_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
             int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
  const int threads = mt_num_threads();
  if (threads == 1 || m * n * k < PARALLEL_FROM) {
    mt_gemm_serial(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    return;
  }
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int t = 0; t < threads; t++) {
    int64_t begin, end;
    if (m >= n) { /* cut the longer side of C */
      piece(m, threads, t, &begin, &end);
      mt_gemm_serial(transpose_a, transpose_b, end - begin, n, k, alpha, a + (transpose_a ? begin : begin * lda), lda,
                     b, ldb, beta, c + begin * ldc, ldc);
    } else {
      piece(n, threads, t, &begin, &end);
      mt_gemm_serial(transpose_a, transpose_b, m, end - begin, k, alpha, a, lda,
                     b + (transpose_b ? begin * ldb : begin), ldb, beta, c + begin, ldc);
    }
  }
}
