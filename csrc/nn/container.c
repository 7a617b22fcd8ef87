/* Lists and tables of modules or parameters that another module uses: they name what is in them and run nothing. Items
 * are called "0", "1", ... as in PyTorch. */
#include "nn/layers.h"

static mt_tensor *forward(mt_module *self, mt_tensor *input) {
  (void)input;
  return mt_fail_null(MT_ERROR_ARGUMENT, "%s: runs nothing by itself; call what is in it", self->cls->name);
}

static const mt_module_class classes[] = {
    [MT_MODULE_LIST] = {.name = "ModuleList", .forward = forward},
    [MT_MODULE_DICT] = {.name = "ModuleDict", .forward = forward},
    [MT_PARAMETER_LIST] = {.name = "ParameterList", .forward = forward},
    [MT_PARAMETER_DICT] = {.name = "ParameterDict", .forward = forward},
};

bool mt_is_container(const mt_module *m) {
  return m->cls >= classes && m->cls < classes + sizeof classes / sizeof classes[0];
}

mt_module *mt_container_new(mt_container_kind kind) {
  mt_module *m = mt_module_new(&classes[kind], 0);
  if (m) m->grows = true;
  return m;
}
