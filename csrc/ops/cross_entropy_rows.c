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

#define PARALLEL_FROM ((int64_t)1 << 12)

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

typedef struct {
  const target_rows *targets;
  const float *x, *dy; /* dy: a step of dy_step from row to row */
  int64_t dy_step;
  const mt_row_norm *norms;
  float share;
  float *dx, *dp; /* NULL: not wanted */
} gradient_work;

static void gradient_range(const void *context, int64_t begin, int64_t end) {
  const gradient_work *w = context;
  for (int64_t n = begin; n < end; n++) {
    const int64_t at = n * w->targets->classes;
    const float scale = w->share * w->dy[n * w->dy_step];
    if (w->dx) logits_gradient(w->targets, n, w->x + at, w->norms[n], scale, w->dx + at);
    if (w->dp) probabilities_gradient(w->targets, w->x + at, w->norms[n], scale, w->dp + at);
  }
}

static int rows_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const rows_context *c = node->context;
  const mt_tensor *logits = node->saved[SAVED_LOGITS];
  const int64_t rows = logits->shape[0], classes = logits->shape[1];
  const target_rows t = targets_of(node->saved[SAVED_TARGETS], node->saved[SAVED_WEIGHT], &c->options, classes);
  for (int i = 0; i < INPUT_COUNT; i++)
    if (node->needs[i] && !(grads[i] = mt_tensor_like(logits))) return -1;
  const gradient_work work = {.targets = &t,
                              .x = mt_f32(logits),
                              .dy = mt_f32(grad_output),
                              .dy_step = c->options.labels.reduction == MT_REDUCE_NONE,
                              .norms = node->saved[SAVED_NORMS]->data,
                              .share = (float)c->share,
                              .dx = grads[INPUT_LOGITS] ? mt_f32(grads[INPUT_LOGITS]) : NULL,
                              .dp = grads[INPUT_TARGETS] ? mt_f32(grads[INPUT_TARGETS]) : NULL};
  mt_parallel(rows, mt_chunk(rows, classes, PARALLEL_FROM), gradient_range, &work);
  return 0;
}

static const mt_op rows_op = {.name = "cross_entropy", .backward = rows_backward};

typedef struct {
  const target_rows *targets;
  const float *x;
  float *losses;
  mt_row_norm *norms;
} loss_work;

static void losses_of_rows(const void *context, int64_t begin, int64_t end) {
  const loss_work *w = context;
  const int64_t classes = w->targets->classes;
  for (int64_t n = begin; n < end; n++) {
    w->norms[n] = mt_norm_of_row(w->x + n * classes, classes);
    w->losses[n] = loss_of_row(w->targets, n, w->x + n * classes, w->norms[n]);
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
    mt_parallel(rows, mt_chunk(rows, classes, PARALLEL_FROM), losses_of_rows,
                &(loss_work){&t, mt_f32(logits), mt_f32(losses), norms->data});
    y = reduction == MT_REDUCE_NONE ? mt_retain(losses) : mt_sum_losses(losses, reduction, total);
    mt_tensor *inputs[INPUT_COUNT] = {logits, targets};
    mt_tensor *saved[SAVED_COUNT] = {logits, targets, norms, options->labels.weight};
    y = mt_recorded(y, &rows_op, INPUT_COUNT, inputs, SAVED_COUNT, saved, &context, sizeof context);
  }
  mt_release(losses);
  mt_release(norms);
  return y;
}
