/* Sequential: the children one after the other. */
#include "nn/layers.h"

static mt_tensor *forward(mt_module *self, mt_tensor *input) {
  return mt_chain_run(self->children, self->n_children, input);
}

static const mt_module_class sequential_class = {.name = "Sequential", .forward = forward};

bool mt_is_sequential(const mt_module *m) { return m->cls == &sequential_class; }

mt_module *mt_sequential_new(void) { return mt_module_new(&sequential_class, 0); }
