#include "nn/stages.h"

#include "nn/layers.h"
#include "nn/norm.h"
#include "ops/conv_chain.h"

typedef struct {
  mt_conv_stage stage;
  mt_module *norm;
  int length; /* children it covers; 0: there is no stage here */
} found_stage;

/* Whether the child at i exists and the one before it may give up an output of its own. */
static bool may_follow(const mt_child *chain, int count, int i) {
  return i < count && !mt_module_is_captured(chain[i - 1].module);
}

static found_stage stage_at(const mt_child *chain, int count, bool training) {
  found_stage f = {.length = 0};
  if (count < 2 || !mt_is_conv2d(chain[0].module) || !may_follow(chain, count, 1) ||
      !mt_is_batch_norm2d(chain[1].module) || chain[1].module->training != training)
    return f;
  const mt_module *conv = chain[0].module;
  f.norm = chain[1].module;
  const mt_batch_norm_params norm = mt_batch_norm_params_of(f.norm, NULL, false);
  f.stage = (mt_conv_stage){.weight = mt_module_slot(conv, "weight"),
                            .bias = mt_module_slot(conv, "bias"),
                            .conv = mt_conv2d_params_of(conv),
                            .gamma = mt_module_slot(f.norm, "weight"),
                            .beta = mt_module_slot(f.norm, "bias"),
                            .running_mean = mt_module_slot(f.norm, "running_mean"),
                            .running_var = mt_module_slot(f.norm, "running_var"),
                            .momentum = norm.momentum,
                            .eps = norm.eps,
                            .pool = 1};
  f.length = 2;
  if (may_follow(chain, count, f.length) && mt_is_relu(chain[f.length].module)) {
    f.stage.relu = true;
    f.length++;
  }
  const int64_t pool = may_follow(chain, count, f.length) ? mt_max_pool2d_tile(chain[f.length].module) : 0;
  if (pool > 0) {
    f.stage.pool = pool;
    f.length++;
  }
  return f;
}

/* The longest prefix of the stages that the operation takes with this input. */
static int fitting(const mt_tensor *input, mt_conv_stage *stages, int count, bool training) {
  while (count > 0 && !mt_conv_chain_fits(input, stages, count, NULL, training)) count--;
  return count;
}

static bool try_residual(mt_tensor *input, mt_conv_stage *stages, int count, mt_tensor *shortcut, bool training) {
  mt_conv_stage *last = &stages[count - 1];
  if (last->relu || last->pool != 1) return false;
  last->relu = true;
  const bool fits = mt_conv_chain_fits(input, stages, count, shortcut, training);
  last->relu = fits;
  return fits;
}

int mt_stages_run(const mt_child *chain, int count, mt_tensor *input, mt_tensor *shortcut, mt_tensor **output,
                  bool *added) {
  mt_conv_stage stages[MT_CHAIN_MAX_STAGES];
  mt_module *norms[MT_CHAIN_MAX_STAGES];
  int ends[MT_CHAIN_MAX_STAGES], found = 0, at = 0;
  const bool training = count > 1 && chain[1].module->training;
  while (found < MT_CHAIN_MAX_STAGES && (at == 0 || may_follow(chain, count, at))) {
    const found_stage f = stage_at(chain + at, count - at, training);
    if (f.length == 0) break;
    stages[found] = f.stage;
    norms[found] = f.norm;
    at += f.length;
    ends[found++] = at;
  }
  const int fit = found > 0 ? fitting(input, stages, found, training) : 0;
  if (fit == 0) return 0;
  *added = shortcut && fit == found && at == count && !mt_module_is_captured(chain[at - 1].module) &&
           try_residual(input, stages, fit, shortcut, training);
  *output = mt_conv_chain(input, stages, fit, *added ? shortcut : NULL, training);
  for (int i = 0; i < fit; i++) mt_batch_norm_counted(norms[i], *output);
  return ends[fit - 1];
}
