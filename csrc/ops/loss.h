/* What the losses share: reductions, and the checks of labels and class weights. */
#ifndef MT_OPS_LOSS_H
#define MT_OPS_LOSS_H

#include "core/tensor.h"

typedef enum { MT_REDUCE_MEAN, MT_REDUCE_SUM, MT_REDUCE_NONE } mt_reduction;

/* What losses over labels {N} in 1..k can be told. */
typedef struct {
  mt_reduction reduction;
  mt_tensor *weight; /* float32 {k}, of each class; NULL: 1. A mean is then divided by the weights of its labels */
  bool ignores;      /* samples labelled ignore_index, any number, count for nothing */
  int32_t ignore_index;
} mt_label_options;

/* Scores float32 {N,k} with k > 0, labels int32 {N}, every one of them a class or ignored (position, value and range
 * are named), weight as above. -1 with an error that begins with op. */
int mt_check_labelled(const char *op, const char *scores_name, const mt_tensor *scores, const mt_tensor *labels,
                      const mt_label_options *options);
/* weight: NULL, or float32 {k} without gradients. */
int mt_check_class_weight(const char *op, const mt_tensor *weight, int64_t classes);

static inline bool mt_is_ignored(const mt_label_options *o, int32_t label) {
  return o->ignores && label == o->ignore_index;
}
static inline float mt_class_weight(const mt_tensor *weight, int64_t at) { return weight ? mt_f32(weight)[at] : 1.0f; }

/* What a mean over labels is divided by: the weights of those that are not ignored, added one after the other. */
double mt_total_weight(const mt_tensor *labels, const mt_label_options *options);

/* A scalar from losses {N}: their sum, for a mean divided by `total`. Summed in double, one after the other, so that
 * the thread count plays no part. Not recorded. */
mt_tensor *mt_sum_losses(const mt_tensor *losses, mt_reduction reduction, double total);

/* Losses of any shape to what was asked for, recorded. Takes over the reference; NULL passes. */
mt_tensor *mt_reduce_losses(mt_tensor *losses, mt_reduction reduction);

#endif
