/* Matrix products. A batch is a loop over matrices; a side without a batch axis steps by 0, and its gradient adds up
 * over the batch. */
#include "ops/matmul.h"

#include "autograd/tape.h"
#include "ops/gemm.h"

/* {batch,M,K} x {batch,K,N}: step_a and step_b are the distances between a side's matrices, 0 for a single one. */
typedef struct {
  int64_t batch, m, k, n, step_a, step_b;
} product;

static int shapes_error(const mt_tensor *a, const mt_tensor *b) {
  char left[MT_SHAPE_TEXT], right[MT_SHAPE_TEXT];
  return mt_fail(MT_ERROR_ARGUMENT, "matmul: shapes %s and %s, expected {M,K} and {K,N}, or {B,M,K} and {B,K,N}",
                 mt_shape_text(a->ndim, a->shape, left), mt_shape_text(b->ndim, b->shape, right));
}

static int product_of(const mt_tensor *a, const mt_tensor *b, product *p) {
  if (mt_expect_dtype(a, MT_FLOAT32, "matmul", "left side") < 0 ||
      mt_expect_dtype(b, MT_FLOAT32, "matmul", "right side") < 0)
    return -1;
  if (a->ndim < 2 || a->ndim > 3 || b->ndim < 2 || b->ndim > 3) return shapes_error(a, b);
  p->m = a->shape[a->ndim - 2];
  p->k = a->shape[a->ndim - 1];
  p->n = b->shape[b->ndim - 1];
  p->batch = a->ndim == 3 ? a->shape[0] : b->ndim == 3 ? b->shape[0] : 1;
  if (b->shape[b->ndim - 2] != p->k || (b->ndim == 3 && b->shape[0] != p->batch)) return shapes_error(a, b);
  if (p->m > INT32_MAX || p->k > INT32_MAX || p->n > INT32_MAX) return shapes_error(a, b);
  p->step_a = a->ndim == 3 ? p->m * p->k : 0;
  p->step_b = b->ndim == 3 ? p->k * p->n : 0;
  return 0;
}

/* C_i (m,n) (+)= A_i B_i for every matrix of the batch, adding up where `add`; returns c, or NULL after releasing it.
 */
static mt_tensor *products(int64_t batch, mt_gemm_form form, int64_t m, int64_t n, int64_t k, const float *a,
                           int64_t step_a, const float *b, int64_t step_b, bool add, mt_tensor *c, int64_t step_c) {
  for (int64_t i = 0; c && i < batch; i++) {
    if (mt_gemm(form, m, n, k, a + i * step_a, b + i * step_b, add, mt_f32(c) + i * step_c) == 0) continue;
    mt_release(c);
    return NULL;
  }
  return c;
}

/* dA = dC B^T, summed over the batch where A is one matrix. */
static mt_tensor *gradient_a(const product *p, const mt_tensor *g, const mt_tensor *b) {
  const int64_t shape[] = {p->batch, p->m, p->k};
  mt_tensor *da = p->step_a ? mt_tensor_new(MT_FLOAT32, 3, shape) : mt_tensor_zeros(MT_FLOAT32, 2, shape + 1);
  return products(p->batch, MT_GEMM_NT, p->m, p->k, p->n, mt_f32(g), p->m * p->n, mt_f32(b), p->step_b, !p->step_a, da,
                  p->step_a);
}

/* dB = A^T dC, summed over the batch where B is one matrix. */
static mt_tensor *gradient_b(const product *p, const mt_tensor *g, const mt_tensor *a) {
  const int64_t shape[] = {p->batch, p->k, p->n};
  mt_tensor *db = p->step_b ? mt_tensor_new(MT_FLOAT32, 3, shape) : mt_tensor_zeros(MT_FLOAT32, 2, shape + 1);
  return products(p->batch, MT_GEMM_TN, p->k, p->n, p->m, mt_f32(a), p->step_a, mt_f32(g), p->m * p->n, !p->step_b, db,
                  p->step_b);
}

static int matmul_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const product *p = node->context;
  if (node->needs[0] && !(grads[0] = gradient_a(p, grad_output, node->saved[1]))) return -1;
  if (node->needs[1] && !(grads[1] = gradient_b(p, grad_output, node->saved[0]))) return -1;
  return 0;
}

static const mt_op matmul_op = {.name = "matmul", .backward = matmul_backward};

mt_tensor *mt_matmul(mt_tensor *a, mt_tensor *b) {
  product p;
  if (product_of(a, b, &p) < 0) return NULL;
  const int64_t shape[] = {p.batch, p.m, p.n};
  const bool batched = a->ndim == 3 || b->ndim == 3;
  mt_tensor *c = mt_tensor_new(MT_FLOAT32, batched ? 3 : 2, batched ? shape : shape + 1);
  c = products(p.batch, MT_GEMM_NN, p.m, p.n, p.k, mt_f32(a), p.step_a, mt_f32(b), p.step_b, false, c, p.m * p.n);
  mt_tensor *inputs[] = {a, b}, *saved[] = {mt_needs_grad(b) ? a : NULL, mt_needs_grad(a) ? b : NULL};
  return mt_recorded(c, &matmul_op, 2, inputs, 2, saved, &p, sizeof p);
}
