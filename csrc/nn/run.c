/* Walks a plan. Convolutions in a row, with what stands behind each, run as one operation as far as their modes and the
 * input allow (conv/chain.h): in training up to the end of a residual block, whose shortcut they add, in evaluation
 * across whole residual blocks. What does not run so runs step by step. */
#include <assert.h>

#include "conv/chain.h"
#include "nn/layers.h"
#include "nn/norm.h"
#include "nn/plan.h"
#include "ops/activation.h"
#include "ops/binary.h"
#include "ops/conv2d_batchnorm.h"
#include "ops/elementwise.h"

typedef struct {
  mt_step *steps;
  int count, at;                          /* at: the next step */
  mt_tensor *x;                           /* what the steps so far gave; NULL after an error */
  mt_tensor *shortcuts[MT_MODULE_HEIGHT]; /* of the residual blocks that are open */
  int depth;
} run;

static mt_tensor *pop_shortcut(run *r) {
  assert(r->depth > 0);
  return r->shortcuts[--r->depth];
}

/* `y` takes the place of x. */
static void go_on_with(run *r, mt_tensor *y) {
  mt_release(r->x);
  r->x = y;
}

/* ---- the stages from the next step on ---- */

typedef struct {
  mt_conv_stage stages[MT_CHAIN_MAX_STAGES];
  mt_module *norms[MT_CHAIN_MAX_STAGES];
  int ends[MT_CHAIN_MAX_STAGES]; /* the step behind this stage; 0: inside a residual block, where none may end */
  int count;
  bool training;
  int begins[MT_MODULE_HEIGHT], depth; /* the residual blocks that are open: the number of their first stage */
} stage_list;

static bool is_stage(const mt_step *s) { return s->kind == MT_STEP_CONV && s->norm; }

/* How the steps may run: as the first normalisation says. */
static bool is_training(const run *r) {
  const mt_step *s = &r->steps[r->at];
  return is_stage(s) && mt_module_is_training(s->norm);
}

static bool append_stage(stage_list *list, mt_step *s) {
  if (list->count == MT_CHAIN_MAX_STAGES || mt_module_is_training(s->norm) != list->training) return false;
  if (list->training) mt_folded_clear(&s->folded);
  const mt_conv2d_params conv = mt_conv2d_params_of(s->module);
  mt_conv_stage stage = mt_conv2d_stage(mt_module_slot(s->module, "weight"), mt_module_slot(s->module, "bias"), &conv);
  stage.same = mt_conv2d_is_same(s->module);
  stage.norm = mt_norm_of(s->norm);
  stage.relu = s->relu;
  stage.limit = s->limit;
  stage.pool = s->pool;
  stage.folded = &s->folded;
  list->norms[list->count] = s->norm;
  list->stages[list->count++] = stage;
  return true;
}

static bool ends_openly(const mt_conv_stage *s) { return !s->relu && s->pool == 1 && !s->block_stages; }

static bool open_block(stage_list *list, const mt_step *fork) {
  if (list->training || fork->module) return false;
  list->begins[list->depth++] = list->count;
  return true;
}

static bool close_block(stage_list *list, const mt_step *join) {
  if (list->depth == 0 || list->begins[list->depth - 1] == list->count) return false;
  mt_conv_stage *last = &list->stages[list->count - 1];
  if (!ends_openly(last)) return false;
  last->block_stages = list->count - list->begins[--list->depth];
  last->relu = join->relu;
  return true;
}

static bool append_step(stage_list *list, mt_step *s) {
  switch (s->kind) {
    case MT_STEP_CONV:
      return is_stage(s) && append_stage(list, s);
    case MT_STEP_FORK:
      return open_block(list, s);
    case MT_STEP_JOIN:
      return close_block(list, s);
    default:
      return false;
  }
}

static void find_stages(const run *r, stage_list *list) {
  list->training = is_training(r);
  for (int at = r->at; at < r->count; at++) {
    const int before = list->count;
    if (!append_step(list, &r->steps[at])) return;
    if (list->count > before) list->ends[before] = 0;
    if (list->count > 0 && list->depth == 0) list->ends[list->count - 1] = at + 1;
  }
}

/* Shortens the list to what the operation takes with this input. */
static void keep_fitting(const run *r, stage_list *list) {
  while (list->count > 0 &&
         (list->ends[list->count - 1] == 0 || !mt_chain_fits(r->x, list->stages, list->count, NULL, list->training)))
    list->count--;
}

/* Whether the step behind the list is the end of a residual block that the operation can take along. */
static bool takes_join(const run *r, stage_list *list) {
  const int end = list->ends[list->count - 1];
  mt_conv_stage *last = &list->stages[list->count - 1];
  if (end == r->count || r->steps[end].kind != MT_STEP_JOIN || !ends_openly(last)) return false;
  last->relu = r->steps[end].relu;
  if (mt_chain_fits(r->x, list->stages, list->count, r->shortcuts[r->depth - 1], list->training)) return true;
  last->relu = false;
  return false;
}

/* Runs the steps that make one operation; false: none do. */
static bool run_stages(run *r) {
  stage_list list = {.count = 0};
  find_stages(r, &list);
  keep_fitting(r, &list);
  if (list.count == 0) return false;
  r->at = list.ends[list.count - 1];
  mt_tensor *shortcut = NULL;
  if (takes_join(r, &list)) {
    shortcut = pop_shortcut(r);
    r->at++;
  }
  mt_tensor *y = mt_chain(r->x, list.stages, list.count, shortcut, list.training);
  for (int i = 0; i < list.count; i++) mt_batch_norm_counted(list.norms[i], y);
  mt_release(shortcut);
  go_on_with(r, y);
  return true;
}

/* ---- one step ---- */

/* A ReLU with a limit, where there is one: no layer does it in passing. */
static mt_tensor *limited(mt_tensor *x, float limit) {
  if (!x || limit == 0) return x;
  mt_tensor *y = mt_clamp(x, 0, limit);
  mt_release(x);
  return y;
}

static mt_tensor *pooled(mt_tensor *x, int64_t pool) {
  const mt_pool2d_params p = {.kernel = {pool, pool}, .stride = {pool, pool}};
  if (!x || pool == 1) return x;
  mt_tensor *y = mt_max_pool2d(x, &p);
  mt_release(x);
  return y;
}

/* A convolution or normalisation; where a residual block ends behind its normalisation, that too. */
static void run_layer(run *r, const mt_step *s) {
  mt_module *norm = s->kind == MT_STEP_NORM ? s->module : s->norm;
  const mt_step *next = r->at < r->count ? &r->steps[r->at] : NULL;
  mt_tensor *shortcut = NULL, *y;
  bool relu = s->relu && s->limit == 0;
  if (norm && !s->relu && s->pool == 1 && next && next->kind == MT_STEP_JOIN) {
    shortcut = pop_shortcut(r);
    relu = next->relu;
    r->at++;
  }
  if (s->kind == MT_STEP_NORM)
    y = mt_batch_norm_run(norm, r->x, shortcut, relu);
  else if (norm)
    y = mt_conv2d_batch_norm_run(s->module, norm, r->x, shortcut, relu);
  else
    y = mt_conv2d_run(s->module, r->x, relu);
  mt_release(shortcut);
  go_on_with(r, pooled(limited(y, s->limit), s->pool));
}

static void begin_block(run *r, const mt_step *s) {
  mt_tensor *shortcut = s->module ? mt_module_forward(s->module, r->x) : mt_retain(r->x);
  assert(r->depth < MT_MODULE_HEIGHT);
  if (shortcut)
    r->shortcuts[r->depth++] = shortcut;
  else
    go_on_with(r, NULL);
}

static void end_block(run *r, const mt_step *s) {
  mt_tensor *shortcut = pop_shortcut(r), *sum = NULL;
  if (mt_expect_shape(shortcut, r->x->ndim, r->x->shape, "Residual", "shortcut") == 0) sum = mt_add(r->x, shortcut);
  mt_release(shortcut);
  go_on_with(r, sum);
  if (sum && s->relu) go_on_with(r, mt_relu(sum));
}

static void run_step(run *r, const mt_step *s) {
  switch (s->kind) {
    case MT_STEP_MODULE:
      go_on_with(r, mt_module_forward(s->module, r->x));
      break;
    case MT_STEP_CONV:
    case MT_STEP_NORM:
      run_layer(r, s);
      break;
    case MT_STEP_FORK:
      begin_block(r, s);
      break;
    case MT_STEP_JOIN:
      end_block(r, s);
      break;
    case MT_STEP_CAPTURED:
      r->x = mt_module_finish(s->module, r->x);
      break;
  }
}

/* ---- a plan ---- */

static mt_tensor *walk(mt_plan *plan, mt_tensor *input) {
  run r = {.steps = plan->steps, .count = plan->count, .x = mt_retain(input)};
  while (r.x && r.at < r.count)
    if (!run_stages(&r)) run_step(&r, &r.steps[r.at++]);
  while (r.depth > 0) mt_release(pop_shortcut(&r));
  return r.x;
}

static mt_tensor *run_plan(mt_module *container, mt_plan *plan, mt_tensor *input) {
  if (!plan) return NULL;
  mt_module_retain(container);
  mt_tensor *output = walk(plan, input);
  mt_plan_end(container, plan);
  mt_module_release(container);
  return output;
}

mt_tensor *mt_plan_run(mt_module *container, mt_tensor *input) {
  return run_plan(container, mt_plan_begin(container), input);
}

mt_tensor *mt_plan_run_after(mt_module *container, int child, mt_tensor *input) {
  return run_plan(container, mt_plan_begin_after(container, child), input);
}
