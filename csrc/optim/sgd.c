/* Stochastic gradient descent as PyTorch does it: d = g + weight_decay p (-g with maximize); in the first step v = d,
 * later v = momentum v + (1 - dampening) d; p -= lr v, or with Nesterov p -= lr (d + momentum v). */
#include "optim/optimizer.h"

static int check(const void *options) {
  const mt_sgd_options *o = options;
  if (o->nesterov && o->momentum == 0.0)
    return mt_fail(MT_ERROR_ARGUMENT, "sgd: nesterov is true and momentum is 0, expected momentum > 0");
  if (o->nesterov && o->dampening != 0.0)
    return mt_fail(MT_ERROR_ARGUMENT, "sgd: nesterov is true and dampening is %g, expected dampening = 0",
                   o->dampening);
  return 0;
}

static int n_states(const void *options) { return ((const mt_sgd_options *)options)->momentum != 0.0; }

/* Without decay the parameter's value plays no part, not even when it is infinite. */
static inline float decayed(float g, float p, float decay) { return decay == 0.0f ? g : g + decay * p; }

static void update(const mt_optimizer_item *item, int64_t begin, int64_t end) {
  const mt_sgd_options *options = item->group->options;
  const float lr = (float)item->group->lr, momentum = (float)options->momentum, decay = (float)options->weight_decay;
  const float share = item->step == 1 ? 1.0f : (float)(1.0 - options->dampening);
  const float sign = options->maximize ? -1.0f : 1.0f;
  float *restrict p = item->param, *restrict v = item->state[0];
  const float *restrict g = item->grad;
  if (!v) {
    for (int64_t i = begin; i < end; i++) p[i] -= lr * decayed(sign * g[i], p[i], decay);
  } else if (!options->nesterov) {
    for (int64_t i = begin; i < end; i++) {
      v[i] = momentum * v[i] + share * decayed(sign * g[i], p[i], decay);
      p[i] -= lr * v[i];
    }
  } else {
    for (int64_t i = begin; i < end; i++) {
      const float d = decayed(sign * g[i], p[i], decay);
      v[i] = momentum * v[i] + d;
      p[i] -= lr * (d + momentum * v[i]);
    }
  }
}

const mt_optimizer_class mt_sgd_class = {.name = "sgd",
                                         .options_size = sizeof(mt_sgd_options),
                                         .state_names = {"momentum"},
                                         .check = check,
                                         .n_states = n_states,
                                         .update = update};
