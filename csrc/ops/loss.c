#include "ops/loss.h"

#include "ops/reduce.h"

static int check_labels(const char *op, const mt_tensor *labels, int64_t classes, const mt_label_options *options) {
  const int32_t *label = mt_i32(labels);
  for (int64_t n = 0; n < labels->count; n++) {
    if ((label[n] >= 1 && label[n] <= classes) || mt_is_ignored(options, label[n])) continue;
    if (options->ignores)
      return mt_fail(MT_ERROR_ARGUMENT, "%s: labels[%lld] is %d, expected 1 to %lld or ignore_index %d", op,
                     (long long)n + 1, (int)label[n], (long long)classes, (int)options->ignore_index);
    return mt_fail(
        MT_ERROR_ARGUMENT, "%s: labels[%lld] is %d, expected 1 to %lld%s", op, (long long)n + 1, (int)label[n],
        (long long)classes,
        label[n] == 0 ? "; labels count from 1 here: (labels + 1):to(\"int32\") makes them of 0, 1, ..." : "");
  }
  return 0;
}

int mt_check_class_weight(const char *op, const mt_tensor *weight, int64_t classes) {
  if (!weight) return 0;
  if (mt_expect_dtype(weight, MT_FLOAT32, op, "weight") < 0 || mt_expect_shape(weight, 1, &classes, op, "weight") < 0)
    return -1;
  if (weight->requires_grad)
    return mt_fail(MT_ERROR_ARGUMENT, "%s: weight requires gradients, expected a constant", op);
  return 0;
}

int mt_check_labelled(const char *op, const char *scores_name, const mt_tensor *scores, const mt_tensor *labels,
                      const mt_label_options *options) {
  char text[MT_SHAPE_TEXT];
  if (mt_expect_dtype(scores, MT_FLOAT32, op, scores_name) < 0 ||
      mt_expect_ndim(scores, 2, op, scores_name, "{N,k}") < 0 || mt_expect_dtype(labels, MT_INT32, op, "labels") < 0 ||
      mt_expect_shape(labels, 1, scores->shape, op, "labels") < 0)
    return -1;
  if (scores->shape[1] == 0)
    return mt_fail(MT_ERROR_ARGUMENT, "%s: %s has shape %s, expected at least one class", op, scores_name,
                   mt_shape_text(2, scores->shape, text));
  if (mt_check_class_weight(op, options->weight, scores->shape[1]) < 0) return -1;
  return check_labels(op, labels, scores->shape[1], options);
}

double mt_total_weight(const mt_tensor *labels, const mt_label_options *options) {
  double total = 0.0;
  for (int64_t n = 0; n < labels->count; n++) {
    const int32_t label = mt_i32(labels)[n];
    if (!mt_is_ignored(options, label)) total += (double)mt_class_weight(options->weight, label - 1);
  }
  return total;
}

mt_tensor *mt_sum_losses(const mt_tensor *losses, mt_reduction reduction, double total) {
  double sum = 0.0;
  for (int64_t n = 0; n < losses->count; n++) sum += (double)mt_f32(losses)[n];
  return mt_tensor_scalar((float)(reduction == MT_REDUCE_MEAN ? sum / total : sum));
}

mt_tensor *mt_reduce_losses(mt_tensor *losses, mt_reduction reduction) {
  if (!losses || reduction == MT_REDUCE_NONE) return losses;
  mt_tensor *y = reduction == MT_REDUCE_MEAN ? mt_mean(losses, mt_all_axes(losses), false)
                                             : mt_sum(losses, mt_all_axes(losses), false);
  mt_release(losses);
  return y;
}
