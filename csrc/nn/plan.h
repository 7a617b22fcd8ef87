/* How a container runs: as a plan, the flat list of steps that its tree of Sequentials and Residuals comes to.
 *
 * The planner (plan.c) flattens a tree once for each set of captured modules and keeps the plan with the container,
 * until a child of any module is added or replaced. A plan says only what follows from the tree: modes, freezing,
 * parameters, and whatever depends on the input, are looked at when it runs. What evaluation has folded is kept with it
 * (conv/folded.h) and goes with the next training. The executor (run.c) walks it. */
#ifndef MT_NN_PLAN_H
#define MT_NN_PLAN_H

#include "conv/folded.h"
#include "nn/module.h"

typedef enum {
  MT_STEP_MODULE, /* runs by itself */
  MT_STEP_CONV, /* a Conv2d, with what follows it: normalisation, ReLU or ReLU6, max pooling, each where it is there */
  MT_STEP_NORM, /* a batch normalisation without a convolution, with its ReLU */
  MT_STEP_FORK, /* a residual block begins: module makes the shortcut from here (NULL: the identity) */
  MT_STEP_JOIN, /* it ends: the shortcut is added, then its ReLU */
  MT_STEP_CAPTURED /* module is captured, and this is its output */
} mt_step_kind;

typedef struct {
  mt_step_kind kind;
  mt_module *module;
  mt_module *norm; /* behind a convolution; NULL: none */
  bool relu;
  float limit;      /* of the ReLU: 6 for ReLU6; 0: none */
  int64_t pool;     /* window and stride behind a convolution; 1: none */
  mt_folded folded; /* the convolution's weights with the normalisation in them, as far as they are kept */
} mt_step;

#define MT_PLAN_MAX_CAPTURES 64

/* In one piece of memory, but for the folded weights. */
typedef struct {
  uint64_t revision; /* mt_module_revision when it was made */
  bool in_use;       /* a run walks it: it stays as it is */
  int n_captured, count;
  const mt_module *captured[MT_PLAN_MAX_CAPTURES];
  mt_step steps[];
} mt_plan;

/* The plan of a container, kept by it or (where that one is in use, or has too many captures) made for this run alone.
 * NULL: out of memory. mt_plan_end ends the run. */
mt_plan *mt_plan_begin(mt_module *container);
void mt_plan_end(const mt_module *container, mt_plan *plan);
/* The same for its children behind number `child`, never kept. */
mt_plan *mt_plan_begin_after(mt_module *container, int child);

/* Runs a container, or its children behind number `child` (from 0). */
mt_tensor *mt_plan_run(mt_module *container, mt_tensor *input);
mt_tensor *mt_plan_run_after(mt_module *container, int child, mt_tensor *input);

#endif
