/* Residual: main path + shortcut, then (usually) a ReLU. The main path is every child but the one called
 * "downsample", in order; that one, wherever it stands, makes the shortcut from the block's input. So the basic and
 * bottleneck blocks of residual nets are this class with PyTorch's names. */
#include <stdio.h>

#include "nn/layers.h"
#include "nn/plan.h"

static void describe(const mt_module *self, char *text, size_t size) {
  snprintf(text, size, "%s", mt_residual_has_relu(self) ? "" : "no relu");
}

static const mt_module_class residual_class = {
    .name = "Residual", .kind = MT_KIND_RESIDUAL, .forward = mt_plan_run, .describe = describe};

mt_module *mt_residual_new(bool relu) {
  mt_module *m = mt_module_new(&residual_class, sizeof relu);
  if (m) *(bool *)m->state = relu;
  return m;
}
