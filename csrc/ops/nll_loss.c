/* loss = -w[label] x[label], 0 where the label is ignored; the mean divides by the sum of those weights. */
#include "ops/nll_loss.h"

#include "autograd/tape.h"

enum { SAVED_LABELS, SAVED_WEIGHT, SAVED_COUNT };

typedef struct {
  mt_label_options options; /* its weight is a saved tensor */
  int64_t shape[2];
  double share; /* of a sample in the result */
} nll_context;

static int nll_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const nll_context *c = node->context;
  const mt_tensor *labels = node->saved[SAVED_LABELS];
  mt_tensor *dx = grads[0] = mt_tensor_zeros(MT_FLOAT32, 2, c->shape);
  if (!dx) return -1;
  for (int64_t n = 0; n < labels->count; n++) {
    const int32_t label = mt_i32(labels)[n];
    if (mt_is_ignored(&c->options, label)) continue;
    const float scale = (float)c->share * mt_f32(grad_output)[c->options.reduction == MT_REDUCE_NONE ? n : 0];
    mt_f32(dx)[n * c->shape[1] + label - 1] = -scale * mt_class_weight(node->saved[SAVED_WEIGHT], label - 1);
  }
  return 0;
}

static const mt_op nll_op = {.name = "nll_loss", .backward = nll_backward};

static void fill_losses(const mt_tensor *x, const mt_tensor *labels, const mt_label_options *options, float *losses) {
  for (int64_t n = 0; n < labels->count; n++) {
    const int32_t label = mt_i32(labels)[n];
    losses[n] = mt_is_ignored(options, label)
                    ? 0.0f
                    : -mt_class_weight(options->weight, label - 1) * mt_f32(x)[n * x->shape[1] + label - 1];
  }
}

mt_tensor *mt_nll_loss(mt_tensor *x, mt_tensor *labels, mt_label_options options) {
  if (mt_check_labelled("nll_loss", "log_probabilities", x, labels, &options) < 0) return NULL;
  mt_tensor *losses = mt_tensor_new(MT_FLOAT32, 1, x->shape);
  if (!losses) return NULL;
  const double total = mt_total_weight(labels, &options);
  const nll_context context = {
      options, {x->shape[0], x->shape[1]}, options.reduction == MT_REDUCE_MEAN ? 1.0 / total : 1.0};
  fill_losses(x, labels, &options, mt_f32(losses));
  mt_tensor *y = losses;
  if (options.reduction != MT_REDUCE_NONE) {
    y = mt_sum_losses(losses, options.reduction, total);
    mt_release(losses);
  }
  mt_tensor *saved[SAVED_COUNT] = {labels, options.weight};
  return mt_recorded(y, &nll_op, 1, &x, SAVED_COUNT, saved, &context, sizeof context);
}
