/* Matrix products. A batch is a loop over matrices, a side that does not have one for every step stays where it is: its
 * gradient adds up. Where only the left side has a batch, its matrices are one tall matrix. */
#include "ops/matmul.h"

#include "autograd/tape.h"
#include "ops/gemm.h"

typedef struct {
  int64_t m, k, n;
  int n_batch;                                                          /* axes of the batch */
  int64_t batch[MT_MAX_DIMS], step_a[MT_MAX_DIMS], step_b[MT_MAX_DIMS]; /* in matrices; 0 where a side repeats */
  int64_t matrices;                                                     /* products of the batch */
  bool repeats_a, repeats_b;
  int ndim_a, ndim_b;
  int64_t shape_a[MT_MAX_DIMS], shape_b[MT_MAX_DIMS]; /* as they were given */
} product;

static int shapes_error(const mt_tensor *a, const mt_tensor *b) {
  char left[MT_SHAPE_TEXT], right[MT_SHAPE_TEXT];
  return mt_fail(
      MT_ERROR_ARGUMENT,
      "matmul: shapes %s and %s, expected {...,M,K} and {...,K,N} with batches that broadcast, or vectors {K}",
      mt_shape_text(a->ndim, a->shape, left), mt_shape_text(b->ndim, b->shape, right));
}

/* The number of batch axes of a tensor. */
static int batch_axes(const mt_tensor *t) { return t->ndim > 2 ? t->ndim - 2 : 0; }

/* Steps through a side's matrices along the axes of the whole batch; whether one serves several. */
static bool batch_steps(const mt_tensor *t, const product *p, int64_t *steps) {
  const int own = batch_axes(t);
  bool repeats = false;
  int64_t step = 1;
  for (int i = 1; i <= p->n_batch; i++) {
    const int64_t size = i <= own ? t->shape[own - i] : 1;
    steps[p->n_batch - i] = size == 1 ? 0 : step;
    repeats = repeats || size != p->batch[p->n_batch - i];
    step *= size;
  }
  return repeats;
}

/* One tall matrix instead of a batch on the left. */
static void fold(product *p) {
  if (p->repeats_a || p->matrices == 0) return;
  for (int i = 0; i < p->n_batch; i++)
    if (p->step_b[i] != 0) return;
  if (p->m * p->matrices > INT32_MAX) return;
  p->m *= p->matrices;
  p->matrices = 1;
  p->n_batch = 0;
  p->repeats_b = false;
}

/* False where the batches do not broadcast. */
static bool batch_of(const mt_tensor *a, const mt_tensor *b, product *p) {
  const int own_a = batch_axes(a), own_b = batch_axes(b);
  p->n_batch = own_a > own_b ? own_a : own_b;
  p->matrices = 1;
  for (int i = 1; i <= p->n_batch; i++) {
    const int64_t left = i <= own_a ? a->shape[own_a - i] : 1, right = i <= own_b ? b->shape[own_b - i] : 1;
    if (left != right && left != 1 && right != 1) return false;
    p->batch[p->n_batch - i] = left == 1 ? right : left;
    p->matrices *= p->batch[p->n_batch - i];
  }
  p->repeats_a = batch_steps(a, p, p->step_a);
  p->repeats_b = batch_steps(b, p, p->step_b);
  return true;
}

/* The product and, in shape, its result; the number of the result's axes or -1. */
static int product_of(const mt_tensor *a, const mt_tensor *b, product *p, int64_t shape[MT_MAX_DIMS]) {
  if (mt_expect_dtype(a, MT_FLOAT32, "matmul", "left side") < 0 ||
      mt_expect_dtype(b, MT_FLOAT32, "matmul", "right side") < 0)
    return -1;
  if (a->ndim == 0 || b->ndim == 0) return shapes_error(a, b);
  p->m = a->ndim == 1 ? 1 : a->shape[a->ndim - 2];
  p->k = a->shape[a->ndim - 1];
  p->n = b->ndim == 1 ? 1 : b->shape[b->ndim - 1];
  if (b->shape[b->ndim == 1 ? 0 : b->ndim - 2] != p->k || !batch_of(a, b, p)) return shapes_error(a, b);
  if (p->m > INT32_MAX || p->k > INT32_MAX || p->n > INT32_MAX) return shapes_error(a, b);
  int ndim = p->n_batch;
  for (int i = 0; i < ndim; i++) shape[i] = p->batch[i];
  if (a->ndim > 1) shape[ndim++] = p->m;
  if (b->ndim > 1) shape[ndim++] = p->n;
  p->ndim_a = a->ndim;
  p->ndim_b = b->ndim;
  for (int i = 0; i < MT_MAX_DIMS; i++) {
    p->shape_a[i] = a->shape[i];
    p->shape_b[i] = b->shape[i];
  }
  fold(p);
  return ndim;
}

/* Which matrix of each side belongs to product number i. */
static void matrices_of(const product *p, int64_t i, int64_t *a, int64_t *b) {
  *a = *b = 0;
  for (int axis = p->n_batch - 1; axis >= 0; axis--) {
    const int64_t place = i % p->batch[axis];
    *a += place * p->step_a[axis];
    *b += place * p->step_b[axis];
    i /= p->batch[axis];
  }
}

static int multiply(const product *p, const float *a, const float *b, float *c) {
  int64_t at_a, at_b;
  for (int64_t i = 0; i < p->matrices; i++) {
    matrices_of(p, i, &at_a, &at_b);
    if (mt_gemm(MT_GEMM_NN, p->m, p->n, p->k, a + at_a * p->m * p->k, b + at_b * p->k * p->n, false,
                c + i * p->m * p->n) < 0)
      return -1;
  }
  return 0;
}

/* dA = dC B^T */
static int gradient_a(const product *p, const float *g, const float *b, mt_tensor *da) {
  int64_t at_a, at_b;
  for (int64_t i = 0; i < p->matrices; i++) {
    matrices_of(p, i, &at_a, &at_b);
    if (mt_gemm(MT_GEMM_NT, p->m, p->k, p->n, g + i * p->m * p->n, b + at_b * p->k * p->n, p->repeats_a,
                mt_f32(da) + at_a * p->m * p->k) < 0)
      return -1;
  }
  return 0;
}

/* dB = A^T dC */
static int gradient_b(const product *p, const float *g, const float *a, mt_tensor *db) {
  int64_t at_a, at_b;
  for (int64_t i = 0; i < p->matrices; i++) {
    matrices_of(p, i, &at_a, &at_b);
    if (mt_gemm(MT_GEMM_TN, p->k, p->n, p->m, a + at_a * p->m * p->k, g + i * p->m * p->n, p->repeats_b,
                mt_f32(db) + at_b * p->k * p->n) < 0)
      return -1;
  }
  return 0;
}

/* Sides that add up start from zero. */
static mt_tensor *new_gradient(bool adds_up, int ndim, const int64_t *shape) {
  return adds_up ? mt_tensor_zeros(MT_FLOAT32, ndim, shape) : mt_tensor_new(MT_FLOAT32, ndim, shape);
}

static int matmul_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const product *p = node->context;
  const float *g = mt_f32(grad_output);
  if (node->needs[0]) {
    grads[0] = new_gradient(p->repeats_a, p->ndim_a, p->shape_a);
    if (!grads[0] || gradient_a(p, g, mt_f32(node->saved[1]), grads[0]) < 0) return -1;
  }
  if (node->needs[1]) {
    grads[1] = new_gradient(p->repeats_b, p->ndim_b, p->shape_b);
    if (!grads[1] || gradient_b(p, g, mt_f32(node->saved[0]), grads[1]) < 0) return -1;
  }
  return 0;
}

static const mt_op matmul_op = {.name = "matmul", .backward = matmul_backward};

mt_tensor *mt_matmul(mt_tensor *a, mt_tensor *b) {
  product p;
  int64_t shape[MT_MAX_DIMS];
  const int ndim = product_of(a, b, &p, shape);
  if (ndim < 0) return NULL;
  mt_tensor *c = mt_tensor_new(MT_FLOAT32, ndim, shape);
  if (c && multiply(&p, mt_f32(a), mt_f32(b), mt_f32(c)) < 0) {
    mt_release(c);
    return NULL;
  }
  mt_tensor *inputs[] = {a, b}, *saved[] = {mt_needs_grad(b) ? a : NULL, mt_needs_grad(a) ? b : NULL};
  return mt_recorded(c, &matmul_op, 2, inputs, 2, saved, &p, sizeof p);
}
