/* Stochastic gradient descent as PyTorch does it: d = g + weight_decay p; v = momentum v + d;
 * p -= lr v, or with Nesterov p -= lr (d + momentum v). */
#include "optim/optimizer.h"

/* Without decay the parameter's value plays no part, not even when it is infinite. */
static inline float decayed(float g, float p, float decay) { return decay == 0.0f ? g : g + decay * p; }

static void update(const mt_optimizer *o, const mt_optimizer_item *item, int64_t begin, int64_t end) {
  const mt_sgd_options *options = o->options;
  const float lr = (float)o->lr, momentum = (float)options->momentum, decay = (float)options->weight_decay;
  float *restrict p = item->param, *restrict v = item->state[0];
  const float *restrict g = item->grad;
  if (!v) {
    for (int64_t i = begin; i < end; i++) p[i] -= lr * decayed(g[i], p[i], decay);
  } else if (!options->nesterov) {
    for (int64_t i = begin; i < end; i++) {
      v[i] = momentum * v[i] + decayed(g[i], p[i], decay);
      p[i] -= lr * v[i];
    }
  } else {
    for (int64_t i = begin; i < end; i++) {
      const float d = decayed(g[i], p[i], decay);
      v[i] = momentum * v[i] + d;
      p[i] -= lr * (d + momentum * v[i]);
    }
  }
}

static const mt_optimizer_class plain_class = {.name = "sgd", .update = update};
static const mt_optimizer_class momentum_class = {.name = "sgd", .state_names = {"momentum"}, .update = update};

mt_optimizer *mt_sgd_new(mt_tensor *const *params, int count, const mt_sgd_options *options) {
  if (options->nesterov && options->momentum == 0.0)
    return mt_fail_null(MT_ERROR_ARGUMENT, "sgd: nesterov is true and momentum is 0, expected momentum > 0");
  return mt_optimizer_new(options->momentum != 0.0 ? &momentum_class : &plain_class, params, count, options->lr,
                          options, sizeof *options);
}
