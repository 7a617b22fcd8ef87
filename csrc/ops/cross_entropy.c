/* Labels that all count alike, which is nearly always; everything else is cross_entropy_rows.c. The norms of the rows
 * (row_norm.h) are kept for the backward pass: d loss / d x_j = exp((x_j - m) - s) - (j == label). */
#include "ops/cross_entropy.h"

#include "autograd/tape.h"
#include "core/threads.h"
#include "ops/row_norm.h"

#define PARALLEL_FROM ((int64_t)1 << 13)

enum { SAVED_LOGITS, SAVED_LABELS, SAVED_NORMS, SAVED_COUNT };

/* losses {N} and norms {N} from logits {N,k}. */
static void losses_of_rows(const float *logits, const int32_t *labels, int64_t rows, int64_t classes, float *losses,
                           mt_row_norm *norms) {
#pragma omp parallel for num_threads(mt_num_threads()) if (rows * classes > PARALLEL_FROM)
  for (int64_t n = 0; n < rows; n++) {
    const float *row = logits + n * classes;
    norms[n] = mt_norm_of_row(row, classes);
    losses[n] = norms[n].log_sum - (row[labels[n] - 1] - norms[n].largest);
  }
}

static int cross_entropy_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grad_inputs) {
  const mt_reduction reduction = *(const mt_reduction *)node->context;
  const mt_tensor *logits = node->saved[SAVED_LOGITS];
  const float *x = mt_f32(logits), *dy = mt_f32(grad_output);
  const mt_row_norm *norms = node->saved[SAVED_NORMS]->data;
  const int32_t *labels = mt_i32(node->saved[SAVED_LABELS]);
  const int64_t rows = logits->shape[0], classes = logits->shape[1];
  const float share = reduction == MT_REDUCE_MEAN ? 1.0f / (float)rows : 1.0f;
  mt_tensor *grad = grad_inputs[0] = mt_tensor_like(logits);
  if (!grad) return -1;
  float *dx = mt_f32(grad);
#pragma omp parallel for num_threads(mt_num_threads()) if (rows * classes > PARALLEL_FROM)
  for (int64_t n = 0; n < rows; n++) {
    const float scale = share * dy[reduction == MT_REDUCE_NONE ? n : 0];
    for (int64_t j = 0; j < classes; j++) {
      const float softmax = expf(x[n * classes + j] - norms[n].largest - norms[n].log_sum);
      dx[n * classes + j] = scale * (softmax - (j == labels[n] - 1 ? 1.0f : 0.0f));
    }
  }
  return 0;
}

static const mt_op cross_entropy_op = {.name = "cross_entropy", .backward = cross_entropy_backward};

static mt_tensor *of_plain_labels(mt_tensor *logits, mt_tensor *labels, mt_reduction reduction) {
  mt_tensor *losses = mt_tensor_new(MT_FLOAT32, 1, logits->shape);
  mt_tensor *norms = mt_tensor_new(MT_FLOAT32, 2, (int64_t[]){logits->shape[0], sizeof(mt_row_norm) / sizeof(float)});
  mt_tensor *y = NULL;
  if (losses && norms) {
    losses_of_rows(mt_f32(logits), mt_i32(labels), logits->shape[0], logits->shape[1], mt_f32(losses), norms->data);
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
