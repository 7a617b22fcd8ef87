/* AdamW (Loshchilov and Hutter 2019) as PyTorch does it: p *= 1 - lr weight_decay, then Adam's rule (adam.c) with the
 * gradient as it is. */
#include "optim/optimizer.h"

static void update(const mt_optimizer_item *item, int64_t begin, int64_t end) {
  const double decay = ((const mt_adam_options *)item->group->options)->weight_decay;
  const float kept = (float)(1.0 - item->group->lr * decay);
  for (int64_t i = begin; decay != 0.0 && i < end; i++) item->param[i] *= kept;
  mt_adam_descend(item, 0.0f, begin, end);
}

const mt_optimizer_class mt_adamw_class = {.name = "adamw",
                                           .options_size = sizeof(mt_adam_options),
                                           .state_names = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"},
                                           .counts_steps = true,
                                           .n_states = mt_adam_n_states,
                                           .prepare = mt_adam_prepare,
                                           .update = update};
