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
  if (count < 2 || !mt_is_plain_conv2d(chain[0].module) || !may_follow(chain, count, 1) ||
      !mt_is_batch_norm2d(chain[1].module) || mt_module_is_training(chain[1].module) != training)
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
  int ends[MT_CHAIN_MAX_STAGES]; /* children covered up to this stage; 0: inside a child, where none may end */
  int count;
} stage_list;

static bool contains_captured(const mt_module *m) {
  for (int i = 0; i < m->n_children; i++)
    if (mt_module_is_captured(m->children[i].module) || contains_captured(m->children[i].module)) return true;
  return false;
}

static int append(stage_list *list, const mt_child *chain, int count, bool training);

/* Appends the stages that make up all of a container, for evaluation; or nothing. Returns how many. */
static int append_children(stage_list *list, const mt_module *container) {
  const int before = list->count;
  int at = 0, length = contains_captured(container) ? 0 : 1;
  while (length > 0 && at < container->n_children) {
    length = append(list, container->children + at, container->n_children - at, false);
    at += length;
  }
  if (length == 0) list->count = before;
  return list->count - before;
}

/* The same for a residual block with the identity as its shortcut. */
static int append_block(stage_list *list, const mt_module *block) {
  const int count = append_children(list, block);
  if (count == 0) return 0;
  mt_conv_stage *last = &list->stages[list->count - 1];
  if (last->relu || last->pool != 1 || last->block) {
    list->count -= count;
    return 0;
  }
  last->block = count;
  last->relu = mt_residual_has_relu(block);
  return count;
}

/* Appends the stages that the chain begins with: one, or in evaluation a whole container's. Returns how many children
 * they cover; 0: nothing was appended. */
static int append(stage_list *list, const mt_child *chain, int count, bool training) {
  if (!training && mt_is_plain_residual(chain[0].module)) return append_block(list, chain[0].module) > 0;
  if (!training && mt_is_sequential(chain[0].module)) return append_children(list, chain[0].module) > 0;
  const found_stage f = stage_at(chain, count, training);
  if (f.length == 0 || list->count == MT_CHAIN_MAX_STAGES) return 0;
  list->stages[list->count] = f.stage;
  list->norms[list->count] = f.norm;
  list->count++;
  return f.length;
}

static void find_stages(stage_list *list, const mt_child *chain, int count, bool training) {
  int at = 0;
  while (at < count && (at == 0 || may_follow(chain, count, at))) {
    const int before = list->count, length = append(list, chain + at, count - at, training);
    if (length == 0) return;
    at += length;
    for (int i = before; i < list->count; i++) list->ends[i] = 0;
    list->ends[list->count - 1] = at;
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

/* How the front of a chain may run: as its first normalisation says; containers only in evaluation. */
static bool is_training(const mt_child *chain, int count) {
  return count > 1 && mt_is_plain_conv2d(chain[0].module) && mt_module_is_training(chain[1].module);
}

int mt_stages_run(const mt_child *chain, int count, mt_tensor *input, mt_tensor *shortcut, mt_tensor **output,
                  bool *added) {
  stage_list list = {.count = 0};
  const bool training = is_training(chain, count);
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
