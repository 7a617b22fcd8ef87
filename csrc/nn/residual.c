/* Residual: main path + shortcut, then (usually) a ReLU. The main path is every child but the one called
 * "downsample", in order; that one, wherever it stands, makes the shortcut from the block's input. So the basic and
 * bottleneck blocks of residual nets are this class with PyTorch's names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/layers.h"

static mt_tensor *shortcut_of(mt_module *self, mt_tensor *input) {
  mt_module *shortcut = mt_module_child(self, MT_RESIDUAL_SHORTCUT);
  return shortcut ? mt_module_forward(shortcut, input) : mt_retain(input);
}

static mt_tensor *forward(mt_module *self, mt_tensor *input) {
  mt_child *path = malloc(((size_t)self->n_children + 1) * sizeof *path);
  if (!path) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: Residual cannot list its children");
  int count = 0;
  for (int i = 0; i < self->n_children; i++)
    if (strcmp(self->children[i].name, MT_RESIDUAL_SHORTCUT) != 0) path[count++] = self->children[i];
  mt_tensor *shortcut = shortcut_of(self, input);
  const bool relu = mt_residual_has_relu(self);
  mt_tensor *output = shortcut ? mt_chain_run_residual(path, count, input, shortcut, relu) : NULL;
  mt_release(shortcut);
  free(path);
  return output;
}

static void describe(const mt_module *self, char *text, size_t size) {
  snprintf(text, size, "%s", mt_residual_has_relu(self) ? "" : "no relu");
}

static const mt_module_class residual_class = {.name = "Residual", .forward = forward, .describe = describe};

bool mt_is_plain_residual(const mt_module *m) {
  return m->cls == &residual_class && !mt_module_child(m, MT_RESIDUAL_SHORTCUT);
}

bool mt_residual_has_relu(const mt_module *m) { return *(const bool *)m->state; }

mt_module *mt_residual_new(bool relu) {
  mt_module *m = mt_module_new(&residual_class, sizeof relu);
  if (m) *(bool *)m->state = relu;
  return m;
}
