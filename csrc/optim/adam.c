/* Adam (Kingma and Ba 2015) as PyTorch does it: d = g + weight_decay p (-g with maximize); m += (1 - beta1) (d - m);
 * v = beta2 v + (1 - beta2) d^2; p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps). AMSGrad (Reddi,
 * Kale and Kumar 2018) divides by the largest v so far instead. */
#include <math.h>

#include "optim/optimizer.h"

enum { EXP_AVG, EXP_AVG_SQ, MAX_EXP_AVG_SQ, STATES };

void mt_adam_prepare(mt_optimizer_item *item) {
  const mt_adam_options *options = item->group->options;
  item->bias_correction[0] = 1.0 - pow(options->beta1, (double)item->step);
  item->bias_correction[1] = sqrt(1.0 - pow(options->beta2, (double)item->step));
}

int mt_adam_n_states(const void *options) {
  return ((const mt_adam_options *)options)->amsgrad ? STATES : MAX_EXP_AVG_SQ;
}

/* NaN stays, as with torch.maximum. */
static inline float larger(float a, float b) { return b > a || b != b ? b : a; }

void mt_adam_descend(const mt_optimizer_item *item, float decay, int64_t begin, int64_t end) {
  const mt_adam_options *options = item->group->options;
  const float eps = (float)options->eps, sign = options->maximize ? -1.0f : 1.0f;
  const float share1 = (float)(1.0 - options->beta1), share2 = (float)(1.0 - options->beta2);
  const float beta2 = (float)options->beta2, rate = (float)(item->group->lr / item->bias_correction[0]);
  const float root = (float)item->bias_correction[1];
  float *restrict p = item->param, *restrict m = item->state[EXP_AVG], *restrict v = item->state[EXP_AVG_SQ];
  float *restrict top = item->state[MAX_EXP_AVG_SQ]; /* NULL without AMSGrad */
  const float *restrict g = item->grad;
  for (int64_t i = begin; i < end; i++) {
    const float d = decay == 0.0f ? sign * g[i] : sign * g[i] + decay * p[i];
    m[i] += share1 * (d - m[i]);
    v[i] = beta2 * v[i] + share2 * d * d;
    if (top) top[i] = larger(top[i], v[i]);
    p[i] -= rate * m[i] / (sqrtf(top ? top[i] : v[i]) / root + eps);
  }
}

static void update(const mt_optimizer_item *item, int64_t begin, int64_t end) {
  mt_adam_descend(item, (float)((const mt_adam_options *)item->group->options)->weight_decay, begin, end);
}

const mt_optimizer_class mt_adam_class = {.name = "adam",
                                          .options_size = sizeof(mt_adam_options),
                                          .state_names = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"},
                                          .counts_steps = true,
                                          .n_states = mt_adam_n_states,
                                          .prepare = mt_adam_prepare,
                                          .update = update};
