/* Parts of a net that are not trained. */
#include "nn/module.h"

void mt_module_require_grad(mt_module *m, bool wanted) {
  for (int i = 0; i < m->n_slots; i++) {
    mt_tensor *t = m->slots[i].tensor;
    if (m->slots[i].is_buffer) continue;
    t->requires_grad = wanted;
    if (wanted) continue;
    mt_release(t->grad);
    t->grad = NULL;
  }
  for (int i = 0; i < m->n_children; i++) mt_module_require_grad(m->children[i].module, wanted);
}

bool mt_module_requires_grad(const mt_module *m) {
  for (int i = 0; i < m->n_slots; i++)
    if (!m->slots[i].is_buffer && m->slots[i].tensor->requires_grad) return true;
  for (int i = 0; i < m->n_children; i++)
    if (mt_module_requires_grad(m->children[i].module)) return true;
  return false;
}

static void mark(mt_module *m, bool frozen) {
  m->frozen = frozen;
  for (int i = 0; i < m->n_children; i++) mark(m->children[i].module, frozen);
}

void mt_module_freeze(mt_module *m, bool frozen) {
  mark(m, frozen);
  mt_module_require_grad(m, !frozen);
}
