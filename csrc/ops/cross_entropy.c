/* With m the row's largest logit and s = log sum_j exp(x_j - m), log softmax is (x_j - m) - s: nothing overflows, and
 * large logits lose no digits because m and s are never added. Both are kept for the backward pass:
 * d loss / d x_j = exp((x_j - m) - s) - (j == label). */
#include "ops/cross_entropy.h"

#include <math.h>

#include "autograd/tape.h"
#include "core/threads.h"

#define PARALLEL_FROM ((int64_t)1 << 12)

enum { SAVED_LOGITS, SAVED_LABELS, SAVED_NORMS, SAVED_COUNT };

static int check_labels(const mt_tensor *labels, int64_t classes) {
  const int32_t *label = mt_i32(labels);
  for (int64_t n = 0; n < labels->count; n++) {
    if (label[n] < 1 || label[n] > classes)
      return mt_fail(MT_ERROR_ARGUMENT, "cross_entropy: labels[%lld] is %d, expected 1 to %lld", (long long)n + 1,
                     (int)label[n], (long long)classes);
  }
  return 0;
}

static int check_arguments(const mt_tensor *logits, const mt_tensor *labels) {
  char text[MT_SHAPE_TEXT];
  if (mt_expect_dtype(logits, MT_FLOAT32, "cross_entropy", "logits") < 0 ||
      mt_expect_ndim(logits, 2, "cross_entropy", "logits", "{N,k}") < 0 ||
      mt_expect_dtype(labels, MT_INT32, "cross_entropy", "labels") < 0 ||
      mt_expect_shape(labels, 1, logits->shape, "cross_entropy", "labels") < 0)
    return -1;
  if (logits->shape[1] == 0)
    return mt_fail(MT_ERROR_ARGUMENT, "cross_entropy: logits has shape %s, expected at least one class",
                   mt_shape_text(2, logits->shape, text));
  return check_labels(labels, logits->shape[1]);
}

/* What turns a row of logits into log-probabilities. */
typedef struct {
  float largest, log_sum;
} row_norm;

static row_norm norm_of_row(const float *row, int64_t count) {
  float largest = row[0], sum = 0.0f;
  for (int64_t j = 1; j < count; j++)
    if (row[j] > largest) largest = row[j];
  for (int64_t j = 0; j < count; j++) sum += expf(row[j] - largest);
  return (row_norm){.largest = largest, .log_sum = logf(sum)};
}

typedef struct {
  const float *logits;   /* {N,k} */
  const int32_t *labels; /* {N} */
  int64_t classes;
  float *losses;   /* {N} */
  row_norm *norms; /* {N} */
} loss_work;

static void losses_of_rows(const void *context, int64_t begin, int64_t end) {
  const loss_work *w = context;
  for (int64_t n = begin; n < end; n++) {
    const float *row = w->logits + n * w->classes;
    w->norms[n] = norm_of_row(row, w->classes);
    w->losses[n] = w->norms[n].log_sum - (row[w->labels[n] - 1] - w->norms[n].largest);
  }
}

typedef struct {
  const float *logits;
  const int32_t *labels;
  const row_norm *norms;
  int64_t classes;
  float share;       /* of a row in the result */
  const float *grad; /* of the result */
  int64_t grad_step; /* from row to row: 0 where the result is a scalar */
  float *dx;
} grad_work;

static void grads_of_rows(const void *context, int64_t begin, int64_t end) {
  const grad_work *w = context;
  const int64_t classes = w->classes;
  for (int64_t n = begin; n < end; n++) {
    const float scale = w->share * w->grad[n * w->grad_step];
    for (int64_t j = 0; j < classes; j++) {
      const float softmax = expf(w->logits[n * classes + j] - w->norms[n].largest - w->norms[n].log_sum);
      w->dx[n * classes + j] = scale * (softmax - (j == w->labels[n] - 1 ? 1.0f : 0.0f));
    }
  }
}

static int cross_entropy_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grad_inputs) {
  const mt_reduction reduction = *(const mt_reduction *)node->context;
  const mt_tensor *logits = node->saved[SAVED_LOGITS];
  const int64_t rows = logits->shape[0], classes = logits->shape[1];
  mt_tensor *grad = grad_inputs[0] = mt_tensor_like(logits);
  if (!grad) return -1;
  const grad_work work = {.logits = mt_f32(logits),
                          .labels = mt_i32(node->saved[SAVED_LABELS]),
                          .norms = node->saved[SAVED_NORMS]->data,
                          .classes = classes,
                          .share = reduction == MT_REDUCE_MEAN ? 1.0f / (float)rows : 1.0f,
                          .grad = mt_f32(grad_output),
                          .grad_step = reduction == MT_REDUCE_NONE,
                          .dx = mt_f32(grad)};
  mt_parallel(rows, mt_chunk(rows, classes, PARALLEL_FROM), grads_of_rows, &work);
  return 0;
}

static const mt_op cross_entropy_op = {.name = "cross_entropy", .backward = cross_entropy_backward};

/* A scalar from {N}: summed in double, one after the other, so that the thread count plays no part. */
static mt_tensor *reduce(const mt_tensor *losses, mt_reduction reduction) {
  double sum = 0.0;
  for (int64_t n = 0; n < losses->count; n++) sum += mt_f32(losses)[n];
  return mt_tensor_scalar((float)(reduction == MT_REDUCE_MEAN ? sum / (double)losses->count : sum));
}

mt_tensor *mt_cross_entropy(mt_tensor *logits, mt_tensor *labels, mt_reduction reduction) {
  if (check_arguments(logits, labels) < 0) return NULL;
  mt_tensor *losses = mt_tensor_new(MT_FLOAT32, 1, logits->shape);
  mt_tensor *norms = mt_tensor_new(MT_FLOAT32, 2, (int64_t[]){logits->shape[0], sizeof(row_norm) / sizeof(float)});
  mt_tensor *y = NULL;
  if (losses && norms) {
    const int64_t rows = logits->shape[0], classes = logits->shape[1];
    mt_parallel(rows, mt_chunk(rows, classes, PARALLEL_FROM), losses_of_rows,
                &(loss_work){mt_f32(logits), mt_i32(labels), classes, mt_f32(losses), norms->data});
    y = reduction == MT_REDUCE_NONE ? mt_retain(losses) : reduce(losses, reduction);
    mt_tensor *saved[SAVED_COUNT] = {logits, labels, norms};
    y = mt_recorded(y, &cross_entropy_op, 1, &logits, SAVED_COUNT, saved, &reduction, sizeof reduction);
  }
  mt_release(losses);
  mt_release(norms);
  return y;
}
