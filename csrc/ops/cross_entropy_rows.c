/* Cross-entropy against a target row t of any kind: loss = -sum_j t_j log softmax(x)_j, where
 *
 *   labels         t_j = w_j ((1 - smoothing) (j == label) + smoothing / k); 0 where the label is ignored
 *   probabilities  t_j = w_j ((1 - smoothing) p_j + smoothing / k)
 *
 *   d loss / d x_j = softmax(x)_j sum_i t_i - t_j,    d loss / d p_j = -(1 - smoothing) w_j log softmax(x)_j
 *
 * A mean divides by sum_n w[label n] of the labels that are not ignored, or by the number of rows of probabilities. */
#include "ops/cross_entropy.h"

#include "autograd/tape.h"
#include "core/threads.h"
#include "ops/row_norm.h"

#define PARALLEL_FROM ((int64_t)1 << 13)

enum { INPUT_LOGITS, INPUT_TARGETS, INPUT_COUNT };
enum { SAVED_LOGITS, SAVED_TARGETS, SAVED_NORMS, SAVED_WEIGHT, SAVED_COUNT };

typedef struct {
  mt_cross_entropy_options options; /* its weight is a saved tensor */
  double share;                     /* of a row in the result */
} rows_context;

/* The targets, as forward and backward see them. */
typedef struct {
  const int32_t *labels;      /* or NULL */
  const float *probabilities; /* or NULL */
  const float *weight;        /* or NULL: 1 */
  const mt_label_options *options;
  float kept, spread; /* 1 - smoothing, smoothing / k */
  int64_t classes;
} target_rows;

static target_rows targets_of(const mt_tensor *targets, const mt_tensor *weight, const mt_cross_entropy_options *o,
                              int64_t classes) {
  const bool by_label = targets->dtype == MT_INT32;
  return (target_rows){.labels = by_label ? mt_i32(targets) : NULL,
                       .probabilities = by_label ? NULL : mt_f32(targets),
                       .weight = weight ? mt_f32(weight) : NULL,
                       .options = &o->labels,
                       .kept = (float)(1.0 - o->smoothing),
                       .spread = (float)(o->smoothing / (double)classes),
                       .classes = classes};
}

static inline float weight_of(const target_rows *t, int64_t j) { return t->weight ? t->weight[j] : 1.0f; }

static inline float target_at(const target_rows *t, int64_t row, int64_t j) {
  const float wanted = t->labels ? (j == t->labels[row] - 1 ? 1.0f : 0.0f) : t->probabilities[row * t->classes + j];
  return weight_of(t, j) * (t->kept * wanted + t->spread);
}

static inline bool row_is_ignored(const target_rows *t, int64_t row) {
  return t->labels && mt_is_ignored(t->options, t->labels[row]);
}

static float loss_of_row(const target_rows *t, int64_t row, const float *x, mt_row_norm norm) {
  if (row_is_ignored(t, row)) return 0.0f;
  if (t->labels && t->spread == 0.0f) { /* infinite logits of other classes play no part */
    const int64_t label = t->labels[row] - 1;
    return weight_of(t, label) * (norm.log_sum - (x[label] - norm.largest));
  }
  float sum = 0.0f;
  for (int64_t j = 0; j < t->classes; j++) sum += target_at(t, row, j) * (norm.log_sum - (x[j] - norm.largest));
  return sum;
}

static void logits_gradient(const target_rows *t, int64_t row, const float *x, mt_row_norm norm, float scale,
                            float *dx) {
  if (row_is_ignored(t, row)) {
    for (int64_t j = 0; j < t->classes; j++) dx[j] = 0.0f;
    return;
  }
  float total = 0.0f;
  for (int64_t j = 0; j < t->classes; j++) total += target_at(t, row, j);
  for (int64_t j = 0; j < t->classes; j++)
    dx[j] = scale * (expf(x[j] - norm.largest - norm.log_sum) * total - target_at(t, row, j));
}

static void probabilities_gradient(const target_rows *t, const float *x, mt_row_norm norm, float scale, float *dp) {
  for (int64_t j = 0; j < t->classes; j++)
    dp[j] = scale * t->kept * weight_of(t, j) * (norm.log_sum - (x[j] - norm.largest));
}

static int rows_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const rows_context *c = node->context;
  const mt_tensor *logits = node->saved[SAVED_LOGITS];
  const int64_t rows = logits->shape[0], classes = logits->shape[1];
  const target_rows t = targets_of(node->saved[SAVED_TARGETS], node->saved[SAVED_WEIGHT], &c->options, classes);
  const float *x = mt_f32(logits), *dy = mt_f32(grad_output);
  const mt_row_norm *norms = node->saved[SAVED_NORMS]->data;
  for (int i = 0; i < INPUT_COUNT; i++)
    if (node->needs[i] && !(grads[i] = mt_tensor_like(logits))) return -1;
  float *dx = grads[INPUT_LOGITS] ? mt_f32(grads[INPUT_LOGITS]) : NULL;
  float *dp = grads[INPUT_TARGETS] ? mt_f32(grads[INPUT_TARGETS]) : NULL;
#pragma omp parallel for num_threads(mt_num_threads()) if (rows * classes > PARALLEL_FROM)
  for (int64_t n = 0; n < rows; n++) {
    const int64_t at = n * classes;
    const float scale = (float)c->share * dy[c->options.labels.reduction == MT_REDUCE_NONE ? n : 0];
    if (dx) logits_gradient(&t, n, x + at, norms[n], scale, dx + at);
    if (dp) probabilities_gradient(&t, x + at, norms[n], scale, dp + at);
  }
  return 0;
}

static const mt_op rows_op = {.name = "cross_entropy", .backward = rows_backward};

static void losses_of_rows(const target_rows *t, const float *x, int64_t rows, float *losses, mt_row_norm *norms) {
#pragma omp parallel for num_threads(mt_num_threads()) if (rows * t->classes > PARALLEL_FROM)
  for (int64_t n = 0; n < rows; n++) {
    norms[n] = mt_norm_of_row(x + n * t->classes, t->classes);
    losses[n] = loss_of_row(t, n, x + n * t->classes, norms[n]);
  }
}

mt_tensor *mt_cross_entropy_rows(mt_tensor *logits, mt_tensor *targets, const mt_cross_entropy_options *options) {
  const int64_t rows = logits->shape[0], classes = logits->shape[1];
  const mt_reduction reduction = options->labels.reduction;
  const target_rows t = targets_of(targets, options->labels.weight, options, classes);
  const double total = t.labels ? mt_total_weight(targets, &options->labels) : (double)rows;
  const rows_context context = {*options, reduction == MT_REDUCE_MEAN ? 1.0 / total : 1.0};
  mt_tensor *losses = mt_tensor_new(MT_FLOAT32, 1, logits->shape);
  mt_tensor *norms = mt_tensor_new(MT_FLOAT32, 2, (int64_t[]){rows, sizeof(mt_row_norm) / sizeof(float)});
  mt_tensor *y = NULL;
  if (losses && norms) {
    losses_of_rows(&t, mt_f32(logits), rows, mt_f32(losses), norms->data);
    y = reduction == MT_REDUCE_NONE ? mt_retain(losses) : mt_sum_losses(losses, reduction, total);
    mt_tensor *inputs[INPUT_COUNT] = {logits, targets};
    mt_tensor *saved[SAVED_COUNT] = {logits, targets, norms, options->labels.weight};
    y = mt_recorded(y, &rows_op, INPUT_COUNT, inputs, SAVED_COUNT, saved, &context, sizeof context);
  }
  mt_release(losses);
  mt_release(norms);
  return y;
}
