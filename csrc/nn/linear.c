/* Linear: x {...,I} -> {...,O}. Slots weight {O,I} and, unless left out, bias {O}. */
#include "ops/linear.h"

#include <stdio.h>

#include "nn/layers.h"

typedef struct {
  int64_t inputs, outputs;
  bool bias;
} linear_state;

static mt_tensor *forward(mt_module *self, mt_tensor *input) {
  return mt_linear(input, mt_module_slot(self, "weight"), mt_module_slot(self, "bias"));
}

static void describe(const mt_module *self, char *text, size_t size) {
  const linear_state *s = self->state;
  snprintf(text, size, "%lld, %lld%s", (long long)s->inputs, (long long)s->outputs, s->bias ? "" : ", no bias");
}

static const mt_module_class linear_class = {.name = "Linear", .forward = forward, .describe = describe};

mt_module *mt_linear_new(int64_t inputs, int64_t outputs, bool bias) {
  const int64_t shape[] = {outputs, inputs};
  if (mt_shape_count("Linear", 2, shape) < 0) return NULL;
  mt_module *m = mt_module_new(&linear_class, sizeof(linear_state));
  if (!m) return NULL;
  *(linear_state *)m->state = (linear_state){.inputs = inputs, .outputs = outputs, .bias = bias};
  mt_tensor *weight = mt_init_fan_in(mt_tensor_new(MT_FLOAT32, 2, shape), inputs);
  if (mt_module_add_slot(m, "weight", weight, MT_LAYOUT_SAME, false) == 0 &&
      (!bias || mt_module_add_slot(m, "bias", mt_init_fan_in(mt_tensor_new(MT_FLOAT32, 1, &outputs), inputs),
                                   MT_LAYOUT_SAME, false) == 0))
    return m;
  mt_module_release(m);
  return NULL;
}
