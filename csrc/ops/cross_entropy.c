/* Labels that all count alike, which is nearly always; everything else is cross_entropy_rows.c. The norms of the rows
 * (row_norm.h) are kept for the backward pass: d loss / d x_j = exp((x_j - m) - s) - (j == label). */
#include "ops/cross_entropy.h"

#include "autograd/tape.h"
#include "core/threads.h"
#include "ops/row_norm.h"

#define PARALLEL_FROM ((int64_t)1 << 12)

enum { SAVED_LOGITS, SAVED_LABELS, SAVED_NORMS, SAVED_COUNT };

typedef struct {
  const float *logits;   /* {N,k} */
  const int32_t *labels; /* {N} */
  int64_t classes;
  float *losses;      /* {N} */
  mt_row_norm *norms; /* {N} */
} loss_work;

static void losses_of_rows(const void *context, int64_t begin, int64_t end) {
  const loss_work *w = context;
  for (int64_t n = begin; n < end; n++) {
    const float *row = w->logits + n * w->classes;
    w->norms[n] = mt_norm_of_row(row, w->classes);
    w->losses[n] = w->norms[n].log_sum - (row[w->labels[n] - 1] - w->norms[n].largest);
  }
}

typedef struct {
  const float *logits;
  const int32_t *labels;
  const mt_row_norm *norms;
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
    const mt_row_norm norm = w->norms[n];
    float *dx = w->dx + n * classes;
    mt_kernels->exp_row(dx, w->logits + n * classes, classes, norm.largest, norm.log_sum, scale);
    dx[w->labels[n] - 1] -= scale;
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

static mt_tensor *of_plain_labels(mt_tensor *logits, mt_tensor *labels, mt_reduction reduction) {
  mt_tensor *losses = mt_tensor_new(MT_FLOAT32, 1, logits->shape);
  mt_tensor *norms = mt_tensor_new(MT_FLOAT32, 2, (int64_t[]){logits->shape[0], sizeof(mt_row_norm) / sizeof(float)});
  mt_tensor *y = NULL;
  if (losses && norms) {
    const int64_t rows = logits->shape[0], classes = logits->shape[1];
    mt_parallel(rows, mt_chunk(rows, classes, PARALLEL_FROM), losses_of_rows,
                &(loss_work){mt_f32(logits), mt_i32(labels), classes, mt_f32(losses), norms->data});
    y = reduction == MT_REDUCE_NONE ? mt_retain(losses) : mt_sum_losses(losses, reduction, (double)losses->count);
    mt_tensor *saved[SAVED_COUNT] = {logits, labels, norms};
    y = mt_recorded(y, &cross_entropy_op, 1, &logits, SAVED_COUNT, saved, &reduction, sizeof reduction);
  }
  mt_release(losses);
  mt_release(norms);
  return y;
}

static int check_probabilities(const mt_tensor *logits, const mt_tensor *targets, const mt_label_options *options) {
  char text[MT_SHAPE_TEXT];
  if (mt_expect_dtype(logits, MT_FLOAT32, "cross_entropy", "logits") < 0 ||
      mt_expect_ndim(logits, 2, "cross_entropy", "logits", "{N,k}") < 0 ||
      mt_expect_shape(targets, 2, logits->shape, "cross_entropy", "targets") < 0)
    return -1;
  if (logits->shape[1] == 0)
    return mt_fail(MT_ERROR_ARGUMENT, "cross_entropy: logits has shape %s, expected at least one class",
                   mt_shape_text(2, logits->shape, text));
  if (options->ignores)
    return mt_fail(MT_ERROR_ARGUMENT, "cross_entropy: ignore_index is %d, expected none with float32 targets",
                   (int)options->ignore_index);
  return mt_check_class_weight("cross_entropy", options->weight, logits->shape[1]);
}

mt_tensor *mt_cross_entropy(mt_tensor *logits, mt_tensor *targets, mt_cross_entropy_options options) {
  const bool by_label = targets->dtype != MT_FLOAT32 || targets->ndim != 2;
  if (by_label ? mt_check_labelled("cross_entropy", "logits", logits, targets, &options.labels) < 0
               : check_probabilities(logits, targets, &options.labels) < 0)
    return NULL;
  const bool plain = by_label && !options.labels.weight && !options.labels.ignores && options.smoothing == 0.0;
  return plain ? of_plain_labels(logits, targets, options.labels.reduction)
               : mt_cross_entropy_rows(logits, targets, &options);
}
