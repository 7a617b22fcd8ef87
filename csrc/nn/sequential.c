/* Sequential: the children one after the other. */
#include "nn/layers.h"
#include "nn/plan.h"

static const mt_module_class sequential_class = {
    .name = "Sequential", .kind = MT_KIND_SEQUENTIAL, .forward = mt_plan_run};

mt_module *mt_sequential_new(void) { return mt_module_new(&sequential_class, 0); }
