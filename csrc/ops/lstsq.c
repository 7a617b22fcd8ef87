/* Least squares of minimum norm, through the singular value decomposition (LAPACK's dgelsd, which OpenBLAS brings), in
 * double precision: the result is rounded once. */
#include "ops/lstsq.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "ops/gemm.h"

/* Fortran: by reference, matrices column by column. */
extern void dgelsd_(const int *m, const int *n, const int *nrhs, double *a, const int *lda, double *b, const int *ldb,
                    double *s, const double *rcond, int *rank, double *work, const int *lwork, int *iwork, int *info);

typedef struct {
  int m, n, columns, rows; /* rows of LAPACK's b: the larger of m and n */
  double rcond;
  double *a, *b, *s, *work;
  int *iwork;
} problem;

static int check(const mt_tensor *a, const mt_tensor *b) {
  char left[MT_SHAPE_TEXT], right[MT_SHAPE_TEXT];
  if (mt_expect_dtype(a, MT_FLOAT32, "lstsq", "a") < 0 || mt_expect_dtype(b, MT_FLOAT32, "lstsq", "b") < 0) return -1;
  if (a->requires_grad || b->requires_grad)
    return mt_fail(MT_ERROR_ARGUMENT, "lstsq: %s requires gradients, expected a constant (it has none: detach)",
                   a->requires_grad ? "a" : "b");
  const int64_t most = 1 << 20;
  if (a->ndim != 2 || b->ndim < 1 || b->ndim > 2 || b->shape[0] != a->shape[0] || a->shape[0] > most ||
      a->shape[1] > most || (b->ndim == 2 && b->shape[1] > most))
    return mt_fail(MT_ERROR_ARGUMENT, "lstsq: shapes %s and %s, expected {M,N} and {M,K} or {M}, of at most 2^20 each",
                   mt_shape_text(a->ndim, a->shape, left), mt_shape_text(b->ndim, b->shape, right));
  if (!mt_blas_has_memory())
    return mt_fail(MT_ERROR_MEMORY, "lstsq: OpenBLAS does not work under a limit on addresses (ulimit -v)");
  return 0;
}

/* Column by column, with `rows` places for each column; false where a value is not finite. */
static bool transpose(double *to, int rows, const float *from, int m, int n) {
  bool finite = true;
  for (int i = 0; i < m; i++)
    for (int j = 0; j < n; j++) {
      const float value = from[(int64_t)i * n + j];
      to[(int64_t)j * rows + i] = value;
      finite = finite && isfinite(value);
    }
  return finite;
}

/* LAPACK's info: 0 where it is done. With lwork -1 it says in work and iwork how much room it needs. */
static int call(problem *p, double *work, int lwork, int *iwork) {
  int rank, info;
  dgelsd_(&p->m, &p->n, &p->columns, p->a, &p->m, p->b, &p->rows, p->s, &p->rcond, &rank, work, &lwork, iwork, &info);
  return info;
}

static int solve(problem *p) {
  double size;
  int isize;
  if (call(p, &size, -1, &isize) != 0 || !(size < INT32_MAX))
    return mt_fail(MT_ERROR_ARGUMENT, "lstsq: a is %d x %d, too large for LAPACK", p->m, p->n);
  p->work = mt_alloc((size_t)size * sizeof(double));
  p->iwork = mt_alloc((size_t)isize * sizeof(int));
  if (!p->work || !p->iwork) return -1;
  if (call(p, p->work, (int)size, p->iwork) == 0) return 0;
  return mt_fail(MT_ERROR_ARGUMENT, "lstsq: the singular values of a do not converge");
}

static int fill_and_solve(problem *p, const mt_tensor *a, const mt_tensor *b, mt_tensor *x) {
  const size_t n = (size_t)p->n, m = (size_t)p->m;
  p->a = mt_alloc(m * n * sizeof(double));
  p->b = mt_alloc((size_t)p->rows * (size_t)p->columns * sizeof(double));
  p->s = mt_alloc((n < m ? n : m) * sizeof(double));
  if (!p->a || !p->b || !p->s) return -1;
  memset(p->b, 0, (size_t)p->rows * (size_t)p->columns * sizeof(double));
  if (!transpose(p->a, p->m, mt_f32(a), p->m, p->n) || !transpose(p->b, p->rows, mt_f32(b), p->m, p->columns))
    return mt_fail(MT_ERROR_ARGUMENT, "lstsq: a or b holds NaN or an infinity, expected finite numbers");
  if (solve(p) < 0) return -1;
  for (int i = 0; i < p->n; i++)
    for (int j = 0; j < p->columns; j++) mt_f32(x)[(int64_t)i * p->columns + j] = (float)p->b[(int64_t)j * p->rows + i];
  return 0;
}

mt_tensor *mt_lstsq(const mt_tensor *a, const mt_tensor *b, double rcond) {
  if (check(a, b) < 0) return NULL;
  const int64_t shape[2] = {a->shape[1], b->ndim == 2 ? b->shape[1] : 1};
  mt_tensor *x = mt_tensor_zeros(MT_FLOAT32, b->ndim, shape);
  if (!x || a->shape[0] == 0 || a->shape[1] == 0 || shape[1] == 0) return x;
  problem p = {.m = (int)a->shape[0], .n = (int)a->shape[1], .columns = (int)shape[1], .rcond = rcond};
  p.rows = p.m > p.n ? p.m : p.n;
  const int result = fill_and_solve(&p, a, b, x);
  mt_free(p.a);
  mt_free(p.b);
  mt_free(p.s);
  mt_free(p.work);
  mt_free(p.iwork);
  if (result == 0) return x;
  mt_release(x);
  return NULL;
}
