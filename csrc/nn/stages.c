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

/* What was found from the front of a chain on. */
typedef struct {
  mt_conv_stage stages[MT_CHAIN_MAX_STAGES];
  mt_module *norms[MT_CHAIN_MAX_STAGES];
  int ends[MT_CHAIN_MAX_STAGES]; /* children covered up to this stage; 0: inside a residual block, where none may end */
  int count;
} stage_list;

static int append(stage_list *list, const found_stage *f, int end) {
  if (list->count == MT_CHAIN_MAX_STAGES) return -1;
  list->stages[list->count] = f->stage;
  list->norms[list->count] = f->norm;
  list->ends[list->count++] = end;
  return 0;
}

/* Appends a whole residual block with the identity as its shortcut, for evaluation; or nothing, and returns -1. */
static int append_block(stage_list *list, const mt_module *block, int end) {
  const int before = list->count;
  int at = 0;
  while (at < block->n_children && (at == 0 || may_follow(block->children, block->n_children, at))) {
    const found_stage f = stage_at(block->children + at, block->n_children - at, false);
    if (f.length == 0 || append(list, &f, 0) < 0) break;
    at += f.length;
  }
  const int count = list->count - before;
  mt_conv_stage *last = &list->stages[list->count - 1];
  if (count == 0 || at < block->n_children || mt_module_is_captured(block->children[at - 1].module) || last->relu ||
      last->pool != 1) {
    list->count = before;
    return -1;
  }
  last->block = count;
  last->relu = mt_residual_has_relu(block);
  list->ends[list->count - 1] = end;
  return 0;
}

static void find_stages(stage_list *list, const mt_child *chain, int count, bool training) {
  int at = 0;
  while (at < count && (at == 0 || may_follow(chain, count, at))) {
    if (!training && mt_is_plain_residual(chain[at].module)) {
      if (append_block(list, chain[at].module, at + 1) < 0) return;
      at++;
      continue;
    }
    const found_stage f = stage_at(chain + at, count - at, training);
    if (f.length == 0 || append(list, &f, at + f.length) < 0) return;
    at += f.length;
  }
}

/* Shortens the list to what the operation takes with this input. */
static void keep_fitting(stage_list *list, const mt_tensor *input, bool training) {
  while (list->count > 0 &&
         (list->ends[list->count - 1] == 0 || !mt_conv_chain_fits(input, list->stages, list->count, NULL, training)))
    list->count--;
}

/* Whether the list, which covers its whole chain, takes the chain's shortcut along, with a ReLU behind it. */
static bool try_residual(stage_list *list, const mt_tensor *input, const mt_tensor *shortcut, bool training) {
  mt_conv_stage *last = &list->stages[list->count - 1];
  if (last->relu || last->pool != 1 || last->block) return false;
  last->relu = true;
  const bool fits = mt_conv_chain_fits(input, list->stages, list->count, shortcut, training);
  last->relu = fits;
  return fits;
}

int mt_stages_run(const mt_child *chain, int count, mt_tensor *input, mt_tensor *shortcut, mt_tensor **output,
                  bool *added) {
  stage_list list = {.count = 0};
  const bool training = count > 1 && chain[1].module->training;
  find_stages(&list, chain, count, training);
  keep_fitting(&list, input, training);
  if (list.count == 0) return 0;
  const int taken = list.ends[list.count - 1];
  *added = shortcut && taken == count && !mt_module_is_captured(chain[taken - 1].module) &&
           try_residual(&list, input, shortcut, training);
  *output = mt_conv_chain(input, list.stages, list.count, *added ? shortcut : NULL, training);
  for (int i = 0; i < list.count; i++) mt_batch_norm_counted(list.norms[i], *output);
  return taken;
}
