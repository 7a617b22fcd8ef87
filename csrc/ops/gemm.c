#include "ops/gemm.h"

#include <cblas.h>
#include <string.h>
#include <sys/resource.h>

#include "core/memory.h"
#include "core/minmax.h"
#include "core/threads.h"
#include "kernels/kernels.h"

/* Under this many multiply-adds a second thread costs more than it brings. */
#define PARALLEL_FROM ((int64_t)1 << 17)
#define SPLIT_ALIGNMENT 32 /* cuts fall on the borders of the kernels' panels */

static bool blas_is_usable = true, blas_has_memory = true;

/* OpenBLAS keeps its own pool; with one thread it runs on the caller's, as core/threads.h promises. */
__attribute__((constructor)) static void set_up_blas(void) {
  static const char *const fallbacks[] = {"Prescott", "Core2", "Nehalem", "Generic", "generic"};
  openblas_set_num_threads(1);
  /* It takes 128 MiB of addresses per thread at its first product, and tries for ever where it cannot have them. */
  struct rlimit addresses;
  if (getrlimit(RLIMIT_AS, &addresses) == 0 && addresses.rlim_cur != RLIM_INFINITY)
    blas_is_usable = blas_has_memory = false;
#if defined(__x86_64__)
  __builtin_cpu_init();
  for (size_t i = 0; i < sizeof fallbacks / sizeof fallbacks[0]; i++)
    if (__builtin_cpu_supports("avx2") && strcmp(openblas_get_corename(), fallbacks[i]) == 0) blas_is_usable = false;
#else
  (void)fallbacks;
#endif
}

bool mt_blas_has_memory(void) { return blas_has_memory; }

typedef struct {
  mt_gemm_form form;
  int64_t m, n, k;
  const float *a, *b;
  bool add;
  float *c;
  bool by_rows;  /* threads share C by rows, else by columns */
  float *packed; /* own kernels: B in panels, or (MT_GEMM_TN) the sums, m x n in panels per thread */
} product;

/* Piece `index` of `total` cut into `pieces`, on panel borders. */
static void piece(int64_t total, int pieces, int index, int64_t *begin, int64_t *end) {
  const int64_t panels = (total + SPLIT_ALIGNMENT - 1) / SPLIT_ALIGNMENT;
  *begin = panels * index / pieces * SPLIT_ALIGNMENT;
  *end = panels * (index + 1) / pieces * SPLIT_ALIGNMENT;
  if (*end > total) *end = total;
  if (*begin > total) *begin = total;
}

static void share_of(const product *p, int threads, int thread, int64_t rows[2], int64_t columns[2]) {
  rows[0] = columns[0] = 0;
  rows[1] = p->m;
  columns[1] = p->n;
  if (p->by_rows)
    piece(p->m, threads, thread, &rows[0], &rows[1]);
  else
    piece(p->n, threads, thread, &columns[0], &columns[1]);
}

/* ---- OpenBLAS ---- */

static void blas_share(const product *p, int threads, int thread) {
  int64_t rows[2], columns[2];
  share_of(p, threads, thread, rows, columns);
  if (rows[0] == rows[1] || columns[0] == columns[1]) return;
  const bool transpose_a = p->form == MT_GEMM_TN, transpose_b = p->form == MT_GEMM_NT;
  const int lda = (int)(transpose_a ? p->m : p->k), ldb = (int)(transpose_b ? p->k : p->n);
  cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans,
              (int)(rows[1] - rows[0]), (int)(columns[1] - columns[0]), (int)p->k, 1.0f,
              p->a + (transpose_a ? rows[0] : rows[0] * lda), lda, p->b + (transpose_b ? columns[0] * ldb : columns[0]),
              ldb, p->add ? 1.0f : 0.0f, p->c + rows[0] * p->n + columns[0], (int)p->n);
}

/* ---- our own kernels ---- */

static int64_t panel_columns(void) { return (int64_t)MT_CONV2D_PANEL * mt_kernels->vector_floats; }

static int64_t rounded_columns(int64_t n) {
  const int64_t vector = mt_kernels->vector_floats;
  return (n + vector - 1) / vector * vector;
}

/* Panels are shared out whole: a panel's place in `packed` follows from its first column. */
static void pack_share(const product *p, int threads, int thread) {
  const int64_t columns = panel_columns(), panels = (p->n + columns - 1) / columns;
  const int64_t row_step = p->form == MT_GEMM_NT ? 1 : p->n, column_step = p->form == MT_GEMM_NT ? p->k : 1;
  for (int64_t i = panels * thread / threads; i < panels * (thread + 1) / threads; i++) {
    const int64_t first = i * columns, left = p->n - first;
    mt_kernels->conv2d_pack(p->b + first * column_step, p->k, row_step, left < columns ? left : columns, column_step, 0,
                            p->k, p->packed + first * p->k);
  }
}

static void multiply_share(const product *p, int threads, int thread) {
  int64_t rows[2], columns[2];
  share_of(p, threads, thread, rows, columns);
  if (rows[0] == rows[1] || columns[0] == columns[1]) return;
  float *c = p->c + rows[0] * p->n + columns[0];
  const mt_conv2d_block block = {.in = p->a + rows[0] * p->k,
                                 .in_pixel = p->k,
                                 .kernel_rows = 1,
                                 .run = p->k,
                                 .weights = p->packed + columns[0] * p->k,
                                 .residual = p->add ? c : NULL,
                                 .out = c,
                                 .out_pixel = p->n,
                                 .rows = 1,
                                 .width = rows[1] - rows[0],
                                 .channels = columns[1] - columns[0]};
  mt_kernels->conv2d_forward(&block);
}

/* A^T B: outer products over the k rows; each thread owns rows of C. */
static void outer_share(const product *p, int threads, int thread) {
  int64_t begin, end;
  piece(p->m, threads, thread, &begin, &end);
  if (begin == end) return;
  float *sums = p->packed + begin * rounded_columns(p->n);
  if (p->add)
    mt_kernels->conv2d_pack(p->c + begin * p->n, end - begin, p->n, p->n, 1, 0, end - begin, sums);
  else
    memset(sums, 0, (size_t)((end - begin) * rounded_columns(p->n)) * sizeof(float));
  const mt_conv2d_grad_block block = {.in = p->a + begin,
                                      .in_pixel = p->m,
                                      .kernel_rows = 1,
                                      .run = end - begin,
                                      .grad = p->b,
                                      .grad_pixel = p->n,
                                      .sums = sums,
                                      .images = 1,
                                      .rows = 1,
                                      .width = p->k,
                                      .channels = p->n,
                                      .last_panel = (p->n + panel_columns() - 1) / panel_columns()};
  mt_kernels->conv2d_grad_weight(&block);
  mt_kernels->conv2d_unpack_sum(sums, 1, 0, p->n, end - begin, 0, end - begin, p->c + begin * p->n);
}

/* ---- the split ---- */

typedef struct {
  const product *product;
  int threads;
  void (*share)(const product *, int, int);
} split;

static void run_shares(const void *context, int64_t begin, int64_t end) {
  const split *s = context;
  for (int64_t t = begin; t < end; t++) s->share(s->product, s->threads, (int)t);
}

static void for_threads(const product *p, int threads, void (*share)(const product *, int, int)) {
  mt_parallel(threads, 1, run_shares, &(split){p, threads, share});
}

static int with_own_kernels(product *p, int threads) {
  const int64_t rows = p->form == MT_GEMM_TN ? p->m : p->k;
  p->packed = mt_alloc((size_t)(rows * rounded_columns(p->n)) * sizeof(float));
  if (!p->packed) return -1;
  if (p->form == MT_GEMM_TN) {
    for_threads(p, threads, outer_share);
  } else {
    for_threads(p, threads, pack_share);
    for_threads(p, threads, multiply_share);
  }
  mt_free(p->packed);
  return 0;
}

/* ---- one of the sides is a vector ---- */

#define LEAST_COLUMNS 512 /* that a thread takes of a matrix's rows */

static int64_t results_of(const product *p) { return p->n == 1 ? p->m : p->n; }

/* Whether the sums run down the columns of the matrix: of a left side that is transposed, or a right side that is not.
 * Else they run along its rows; for a single result both are one. */
static bool is_down_columns(const product *p) {
  return (p->n == 1 ? p->form == MT_GEMM_TN : p->form != MT_GEMM_NT) && results_of(p) > 1;
}

static void vector_share(const product *p, int threads, int thread) {
  const float *matrix = p->n == 1 ? p->a : p->b, *vector = p->n == 1 ? p->b : p->a;
  int64_t begin, end;
  piece(results_of(p), threads, thread, &begin, &end);
  if (begin == end) return;
  if (is_down_columns(p))
    mt_kernels->gemv_columns(p->c + begin, matrix + begin, p->k, results_of(p), vector, end - begin, p->add);
  else
    mt_kernels->gemv_rows(p->c + begin, matrix + begin * p->k, end - begin, p->k, vector, p->add);
}

static void with_vector(const product *p, int threads) {
  const int64_t most = is_down_columns(p) ? results_of(p) / LEAST_COLUMNS : threads;
  for_threads(p, (int)mt_max64(mt_min64(threads, most), 1), vector_share);
}

/* With k = 1 every row of the result is the vector b, times a number of a. */
static void repeat_share(const product *p, int threads, int thread) {
  int64_t begin, end;
  piece(p->m, threads, thread, &begin, &end);
  for (int64_t i = begin; i < end; i++) {
    if (p->add)
      mt_kernels->gemv_columns(p->c + i * p->n, p->b, 1, p->n, p->a + i, p->n, true);
    else
      mt_kernels->multiply(p->c + i * p->n, p->a + i, 0, p->b, 1, p->n);
  }
}

int mt_gemm(mt_gemm_form form, int64_t m, int64_t n, int64_t k, const float *a, const float *b, bool add, float *c) {
  if (m <= 0 || n <= 0) return 0;
  if (k <= 0) { /* an empty sum */
    if (!add) memset(c, 0, (size_t)(m * n) * sizeof(float));
    return 0;
  }
  product p = {.form = form, .m = m, .n = n, .k = k, .a = a, .b = b, .add = add, .c = c, .by_rows = m >= n};
  const int threads = m * n * k < PARALLEL_FROM ? 1 : mt_num_threads();
  if (m == 1 || n == 1) {
    with_vector(&p, threads);
    return 0;
  }
  if (k == 1) {
    for_threads(&p, threads, repeat_share);
    return 0;
  }
  if (!blas_is_usable) return with_own_kernels(&p, threads);
  for_threads(&p, threads, blas_share);
  return 0;
}
