/* Adam (Kingma and Ba 2015) as PyTorch does it: d = g + weight_decay p; m += (1 - beta1) (d - m);
 * v = beta2 v + (1 - beta2) d^2; p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps). */
#include <math.h>

#include "optim/optimizer.h"

static void prepare(const mt_optimizer *o, int64_t step, mt_optimizer_item *item) {
  const mt_adam_options *options = o->options;
  item->bias_correction[0] = 1.0 - pow(options->beta1, (double)step);
  item->bias_correction[1] = sqrt(1.0 - pow(options->beta2, (double)step));
}

static void update(const mt_optimizer *o, const mt_optimizer_item *item, int64_t begin, int64_t end) {
  const mt_adam_options *options = o->options;
  const float decay = (float)options->weight_decay, eps = (float)options->eps;
  const float share1 = (float)(1.0 - options->beta1), share2 = (float)(1.0 - options->beta2);
  const float beta2 = (float)options->beta2, rate = (float)(o->lr / item->bias_correction[0]);
  const float root = (float)item->bias_correction[1];
  float *restrict p = item->param, *restrict m = item->state[0], *restrict v = item->state[1];
  const float *restrict g = item->grad;
  for (int64_t i = begin; i < end; i++) {
    const float d = decay == 0.0f ? g[i] : g[i] + decay * p[i];
    m[i] += share1 * (d - m[i]);
    v[i] = beta2 * v[i] + share2 * d * d;
    p[i] -= rate * m[i] / (sqrtf(v[i]) / root + eps);
  }
}

static const mt_optimizer_class adam_class = {.name = "adam",
                                              .state_names = {"exp_avg", "exp_avg_sq"},
                                              .counts_steps = true,
                                              .prepare = prepare,
                                              .update = update};

mt_optimizer *mt_adam_new(mt_tensor *const *params, int count, const mt_adam_options *options) {
  return mt_optimizer_new(&adam_class, params, count, options->lr, options, sizeof *options);
}
