/* Runs a chain of modules, taking neighbours together: Conv2d + BatchNorm2d (+ ReLU), Conv2d + ReLU, BatchNorm + ReLU,
 * and at the end of a residual block (Conv2d +) BatchNorm + addition (+ ReLU). A module whose output is captured
 * may end a group but never stand inside one, because its output must exist. */
#include "nn/layers.h"
#include "nn/stages.h"
#include "ops/binary.h"
#include "ops/elementwise.h"

typedef struct {
  mt_module *conv, *norm, *relu; /* those present, in this order; all NULL: a module that runs alone */
  int length;
} group;

/* The module after chain[i], unless chain[i] must keep an output of its own. */
static mt_module *follower(const mt_child *chain, int count, int i) {
  return i + 1 < count && !mt_module_is_captured(chain[i].module) ? chain[i + 1].module : NULL;
}

static group group_at(const mt_child *chain, int count, int i) {
  group g = {.length = 1};
  mt_module *m = chain[i].module;
  if (mt_is_plain_conv2d(m)) {
    g.conv = m;
    mt_module *next = follower(chain, count, i);
    if (next && mt_is_batch_norm2d(next)) {
      g.norm = next;
      g.length++;
    }
  } else if (mt_is_batch_norm(m)) {
    g.norm = m;
  } else {
    return g;
  }
  mt_module *next = follower(chain, count, i + g.length - 1);
  if (next && mt_is_relu(next)) {
    g.relu = next;
    g.length++;
  }
  return g;
}

/* residual and final_relu: what follows the group inside the same operation; only for groups that end in a norm. */
static mt_tensor *run_group(const group *g, mt_module *single, mt_tensor *input, mt_tensor *residual, bool final_relu) {
  const bool relu = g->relu != NULL || final_relu;
  if (g->conv && g->norm) return mt_conv2d_batch_norm_run(g->conv, g->norm, input, residual, relu);
  if (g->norm) return mt_batch_norm_run(g->norm, input, residual, relu);
  if (g->conv) return mt_conv2d_run(g->conv, input, relu);
  return mt_module_forward(single, input);
}

/* A group of one has gone through mt_module_forward already, unless it is fused with what follows the chain. */
static mt_tensor *finish_group(const group *g, mt_module *last, mt_tensor *output) {
  return g->conv || g->norm ? mt_module_finish(last, output) : output;
}

static mt_tensor *add_shortcut(mt_tensor *main_path, mt_tensor *shortcut, bool relu) {
  if (mt_expect_shape(shortcut, main_path->ndim, main_path->shape, "Residual", "shortcut") < 0) return NULL;
  mt_tensor *sum = mt_add(main_path, shortcut);
  if (!sum || !relu) return sum;
  mt_tensor *output = mt_relu(sum);
  mt_release(sum);
  return output;
}

static mt_tensor *run(const mt_child *chain, int count, mt_tensor *input, mt_tensor *shortcut, bool relu) {
  mt_tensor *x = mt_retain(input);
  bool added = shortcut == NULL;
  for (int i = 0; x && i < count;) {
    mt_tensor *staged = NULL;
    bool staged_sum = false;
    const int taken = mt_stages_run(chain + i, count - i, x,
                                    added  ? NULL
                                    : relu ? shortcut
                                           : NULL,
                                    &staged, &staged_sum);
    if (taken > 0) {
      mt_release(x);
      x = mt_module_finish(chain[i + taken - 1].module, staged);
      added = added || staged_sum;
      i += taken;
      continue;
    }
    const group g = group_at(chain, count, i);
    mt_module *last = chain[i + g.length - 1].module;
    const bool ends_chain = !added && i + g.length == count && g.norm && !g.relu && !mt_module_is_captured(last);
    mt_tensor *y = run_group(&g, last, x, ends_chain ? shortcut : NULL, ends_chain && relu);
    mt_release(x);
    x = finish_group(&g, last, y);
    added = added || ends_chain;
    i += g.length;
  }
  if (!x || added) return x;
  mt_tensor *output = add_shortcut(x, shortcut, relu);
  mt_release(x);
  return output;
}

mt_tensor *mt_chain_run(const mt_child *chain, int count, mt_tensor *input) {
  return run(chain, count, input, NULL, false);
}

mt_tensor *mt_chain_run_residual(const mt_child *chain, int count, mt_tensor *input, mt_tensor *shortcut, bool relu) {
  return run(chain, count, input, shortcut, relu);
}
