/* y (N,O) = x (N,I) w^T (I,O) + b, where N is the product of x's leading axes. The three products of the
 * backward pass stand below: dx = dy w, dw = dy^T x, db = column sums of dy. */
#include "ops/linear.h"

#include <string.h>

#include "autograd/tape.h"
#include "core/threads.h"
#include "ops/gemm.h"

#define MAX_SIZE INT32_MAX /* what the matrix product's sizes may be */
#define PARALLEL_FROM ((int64_t)1 << 16)

enum { INPUT_X, INPUT_WEIGHT, INPUT_BIAS, INPUT_COUNT };
enum { SAVED_X, SAVED_WEIGHT, SAVED_COUNT };

static int check_arguments(const mt_tensor *x, const mt_tensor *weight, const mt_tensor *bias) {
  char text[MT_SHAPE_TEXT];
  if (mt_expect_dtype(x, MT_FLOAT32, "linear", "input") < 0 ||
      mt_expect_dtype(weight, MT_FLOAT32, "linear", "weight") < 0 ||
      mt_expect_ndim(weight, 2, "linear", "weight", "{outputs,inputs}") < 0)
    return -1;
  if (x->ndim < 1 || x->shape[x->ndim - 1] != weight->shape[1])
    return mt_fail(MT_ERROR_ARGUMENT,
                   "linear: input has shape %s, expected its last axis to be %lld (the weight's inputs)",
                   mt_shape_text(x->ndim, x->shape, text), (long long)weight->shape[1]);
  if (bias && (mt_expect_dtype(bias, MT_FLOAT32, "linear", "bias") < 0 ||
               mt_expect_shape(bias, 1, weight->shape, "linear", "bias") < 0))
    return -1;
  if (x->count > 0 && x->count / weight->shape[1] > MAX_SIZE)
    return mt_fail(MT_ERROR_ARGUMENT, "linear: input has %lld rows, expected at most %d",
                   (long long)(x->count / weight->shape[1]), MAX_SIZE);
  if (weight->shape[0] > MAX_SIZE || weight->shape[1] > MAX_SIZE)
    return mt_fail(MT_ERROR_ARGUMENT, "linear: weight has shape %s, expected sizes of at most %d",
                   mt_shape_text(2, weight->shape, text), MAX_SIZE);
  return 0;
}

/* Product of the leading axes. */
static int64_t row_count(const mt_tensor *t) {
  int64_t rows = 1;
  for (int i = 0; i < t->ndim - 1; i++) rows *= t->shape[i];
  return rows;
}

static void fill_rows(float *y, int64_t rows, int64_t outputs, const float *bias) {
  for (int64_t n = 0; n < rows; n++) memcpy(y + n * outputs, bias, (size_t)outputs * sizeof *y);
}

typedef struct {
  const float *dy;
  int64_t rows, outputs;
  float *db;
} row_sums;

/* Columns are dealt to threads, so every sum runs over the rows in order whatever the thread count. */
static void sum_columns(const void *context, int64_t begin, int64_t end) {
  const row_sums *s = context;
  memset(s->db + begin, 0, (size_t)(end - begin) * sizeof *s->db);
  for (int64_t n = 0; n < s->rows; n++)
    for (int64_t o = begin; o < end; o++) s->db[o] += s->dy[n * s->outputs + o];
}

static void sum_rows(const float *dy, int64_t rows, int64_t outputs, float *db) {
  const int64_t block = 64;
  mt_parallel(outputs, rows * outputs > PARALLEL_FROM ? block : outputs, sum_columns,
              &(row_sums){dy, rows, outputs, db});
}

/* The shape of t with another last axis. */
static mt_tensor *new_with_last(const mt_tensor *t, int64_t last) {
  int64_t shape[MT_MAX_DIMS];
  memcpy(shape, t->shape, sizeof shape);
  shape[t->ndim - 1] = last;
  return mt_tensor_new(MT_FLOAT32, t->ndim, shape);
}

static int linear_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grad_inputs) {
  const mt_tensor *x = node->saved[SAVED_X], *weight = node->saved[SAVED_WEIGHT];
  const float *dy = mt_f32(grad_output);
  const int64_t outputs = grad_output->shape[grad_output->ndim - 1], rows = row_count(grad_output);
  if (node->needs[INPUT_X]) {
    const int64_t inputs = weight->shape[1];
    mt_tensor *dx = grad_inputs[INPUT_X] = new_with_last(grad_output, inputs);
    if (!dx || mt_gemm(MT_GEMM_NN, rows, inputs, outputs, dy, mt_f32(weight), false, mt_f32(dx)) < 0) return -1;
  }
  if (node->needs[INPUT_WEIGHT]) {
    const int64_t inputs = x->shape[x->ndim - 1];
    mt_tensor *dw = grad_inputs[INPUT_WEIGHT] = mt_tensor_new(MT_FLOAT32, 2, (const int64_t[2]){outputs, inputs});
    if (!dw || mt_gemm(MT_GEMM_TN, outputs, inputs, rows, dy, mt_f32(x), false, mt_f32(dw)) < 0) return -1;
  }
  if (node->n_inputs > INPUT_BIAS && node->needs[INPUT_BIAS]) {
    mt_tensor *db = grad_inputs[INPUT_BIAS] = mt_tensor_new(MT_FLOAT32, 1, &outputs);
    if (!db) return -1;
    sum_rows(dy, rows, outputs, mt_f32(db));
  }
  return 0;
}

static const mt_op linear_op = {.name = "linear", .backward = linear_backward};

mt_tensor *mt_linear(mt_tensor *x, mt_tensor *weight, mt_tensor *bias) {
  if (check_arguments(x, weight, bias) < 0) return NULL;
  const int64_t outputs = weight->shape[0], inputs = weight->shape[1], rows = row_count(x);
  mt_tensor *y = new_with_last(x, outputs);
  if (!y) return NULL;
  if (bias) fill_rows(mt_f32(y), rows, outputs, mt_f32(bias));
  if (mt_gemm(MT_GEMM_NT, rows, outputs, inputs, mt_f32(x), mt_f32(weight), bias != NULL, mt_f32(y)) < 0) {
    mt_release(y);
    return NULL;
  }
  mt_tensor *inputs_of[INPUT_COUNT] = {[INPUT_X] = x, [INPUT_WEIGHT] = weight, [INPUT_BIAS] = bias};
  mt_tensor *saved[SAVED_COUNT] = {
      [SAVED_X] = mt_needs_grad(weight) ? x : NULL,
      [SAVED_WEIGHT] = mt_needs_grad(x) ? weight : NULL,
  };
  return mt_recorded(y, &linear_op, bias ? INPUT_COUNT : INPUT_BIAS, inputs_of, SAVED_COUNT, saved, NULL, 0);
}
