#include "nn/plan.h"

#include <stdlib.h>
#include <string.h>

#include "nn/layers.h"

static bool is_captured(const mt_module *m) {
  const mt_module *captured;
  for (int i = 0; (captured = mt_captured_module(i)); i++)
    if (captured == m) return true;
  return false;
}

/* ---- flattening ---- */

typedef struct {
  mt_step *steps; /* NULL: only counted */
  int count;
} step_list;

/* The children of one container, as far as they are taken. */
typedef struct {
  const mt_module *container;
  int next;
} child_list;

static void append(step_list *list, mt_step step) {
  if (list->steps) list->steps[list->count] = step;
  list->count++;
}

static bool is_shortcut(const mt_module *container, int i) {
  return container->cls->kind == MT_KIND_RESIDUAL && strcmp(container->children[i].name, MT_RESIDUAL_SHORTCUT) == 0;
}

/* The next child on the main path; NULL: there are no more. */
static mt_module *peek(child_list *c) {
  while (c->next < c->container->n_children && is_shortcut(c->container, c->next)) c->next++;
  return c->next < c->container->n_children ? c->container->children[c->next].module : NULL;
}

/* Takes the next child into the step of `before`, whose own output then vanishes. Returns it, else NULL. */
static mt_module *take(child_list *c, const mt_module *before, mt_module_kind kind) {
  mt_module *m = is_captured(before) ? NULL : peek(c);
  if (!m || m->cls->kind != kind) return NULL;
  c->next++;
  return m;
}

/* The step of the child `first`, which is taken, and of those that join it; returns the last of them. */
static const mt_module *make_step(child_list *c, mt_module *first, mt_step *step) {
  const mt_module *last = first, *next;
  *step = (mt_step){.module = first, .pool = 1};
  if (first->cls->kind == MT_KIND_CONV2D) {
    step->kind = MT_STEP_CONV;
    if ((step->norm = take(c, last, MT_KIND_BATCH_NORM2D))) last = step->norm;
  } else if (first->cls->kind == MT_KIND_BATCH_NORM1D || first->cls->kind == MT_KIND_BATCH_NORM2D) {
    step->kind = MT_STEP_NORM;
  } else {
    return last;
  }
  if ((next = take(c, last, MT_KIND_RELU)) || (next = take(c, last, MT_KIND_RELU6))) {
    step->relu = true;
    step->limit = next->cls->kind == MT_KIND_RELU6 ? 6.0f : 0.0f;
    last = next;
  }
  const mt_module *pool = step->norm ? peek(c) : NULL;
  const int64_t window = pool ? mt_max_pool2d_tile(pool) : 0;
  if (window > 0 && (next = take(c, last, MT_KIND_MAX_POOL2D))) {
    step->pool = window;
    last = next;
  }
  return last;
}

static void flatten(step_list *list, const mt_module *container, int from);

static void append_container(step_list *list, mt_module *m) {
  const bool is_residual = m->cls->kind == MT_KIND_RESIDUAL;
  if (is_residual) append(list, (mt_step){.kind = MT_STEP_FORK, .module = mt_module_child(m, MT_RESIDUAL_SHORTCUT)});
  flatten(list, m, 0);
  if (is_residual) append(list, (mt_step){.kind = MT_STEP_JOIN, .module = m, .relu = mt_residual_has_relu(m)});
}

/* The children from number `from` on. */
static void flatten(step_list *list, const mt_module *container, int from) {
  child_list c = {container, from};
  for (mt_module *m; (m = peek(&c));) {
    const mt_module *last = m;
    c.next++;
    if (m->cls->kind == MT_KIND_SEQUENTIAL || m->cls->kind == MT_KIND_RESIDUAL) {
      append_container(list, m);
    } else {
      mt_step step;
      last = make_step(&c, m, &step);
      append(list, step);
      if (step.kind == MT_STEP_MODULE) continue; /* mt_module_forward notes what is captured */
    }
    if (is_captured(last)) append(list, (mt_step){.kind = MT_STEP_CAPTURED, .module = (mt_module *)last});
  }
}

/* All of a container; or the children of one from number `from` > 0 on. */
static void list_steps(step_list *list, mt_module *container, int from) {
  if (from == 0)
    append_container(list, container);
  else
    flatten(list, container, from);
}

static mt_plan *make_plan(mt_module *container, int from) {
  step_list list = {0};
  list_steps(&list, container, from);
  mt_plan *plan = calloc(1, sizeof *plan + (size_t)list.count * sizeof *plan->steps);
  if (!plan) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: %s cannot plan its run", container->cls->name);
  *plan = (mt_plan){.revision = mt_module_revision(), .count = list.count};
  list = (step_list){.steps = plan->steps};
  list_steps(&list, container, from);
  return plan;
}

static void free_plan(void *memory) {
  mt_plan *plan = memory;
  for (int i = 0; plan && i < plan->count; i++) mt_folded_clear(&plan->steps[i].folded);
  free(plan);
}

/* ---- keeping ---- */

/* The captured modules into captured[]; returns how many there are, and no more than there is room for. */
static int list_captured(const mt_module *captured[MT_PLAN_MAX_CAPTURES]) {
  int count = 0;
  while (count < MT_PLAN_MAX_CAPTURES && (captured[count] = mt_captured_module(count))) count++;
  return count;
}

static bool holds(const mt_plan *plan, const mt_module *const *captured, int n_captured) {
  return plan->revision == mt_module_revision() && plan->n_captured == n_captured &&
         memcmp(plan->captured, captured, (size_t)n_captured * sizeof *captured) == 0;
}

/* A run keeps the modules alive, whatever a script that it meets does to the tree. */
static void hold_modules(const mt_plan *plan) {
  for (int i = 0; i < plan->count; i++) {
    if (plan->steps[i].module) mt_module_retain(plan->steps[i].module);
    if (plan->steps[i].norm) mt_module_retain(plan->steps[i].norm);
  }
}

static void let_modules_go(const mt_plan *plan) {
  for (int i = 0; i < plan->count; i++) {
    mt_module_release(plan->steps[i].module);
    mt_module_release(plan->steps[i].norm);
  }
}

mt_plan *mt_plan_begin(mt_module *container) {
  const mt_module *captured[MT_PLAN_MAX_CAPTURES];
  const int n_captured = list_captured(captured);
  void **place = &container->plans[n_captured > 0];
  mt_plan *plan = *place;
  if (!plan || plan->in_use || !holds(plan, captured, n_captured)) {
    const bool kept = !(plan && plan->in_use) && n_captured < MT_PLAN_MAX_CAPTURES;
    plan = make_plan(container, 0);
    if (!plan) return NULL;
    plan->n_captured = n_captured;
    memcpy(plan->captured, captured, (size_t)n_captured * sizeof *captured);
    if (kept) {
      free_plan(*place);
      *place = plan;
      container->free_plan = free_plan;
    }
  }
  plan->in_use = true;
  hold_modules(plan);
  return plan;
}

mt_plan *mt_plan_begin_after(mt_module *container, int child) {
  mt_plan *plan = make_plan(container, child + 1);
  if (plan) hold_modules(plan);
  return plan;
}

void mt_plan_end(const mt_module *container, mt_plan *plan) {
  let_modules_go(plan);
  plan->in_use = false;
  if (container->plans[0] != plan && container->plans[1] != plan) free_plan(plan);
}
