/* Shortcut: x {N,H,W,inputs} -> {N,OH,OW,outputs}, every stride-th pixel, channels padded with zeros on both sides. */
#include "ops/shortcut.h"

#include <stdio.h>

#include "nn/layers.h"

typedef struct {
  int64_t inputs, outputs, stride;
} shortcut_state;

static mt_tensor *forward(mt_module *self, mt_tensor *input) {
  const shortcut_state *s = self->state;
  char text[MT_SHAPE_TEXT];
  if (input->ndim == 4 && input->shape[3] != s->inputs)
    return mt_fail_null(MT_ERROR_ARGUMENT, "Shortcut: input has shape %s, expected {N,H,W,%lld}",
                        mt_shape_text(4, input->shape, text), (long long)s->inputs);
  return mt_shortcut(input, s->stride, (s->outputs - s->inputs) / 2);
}

static void describe(const mt_module *self, char *text, size_t size) {
  const shortcut_state *s = self->state;
  snprintf(text, size, "%lld, %lld, stride %lld", (long long)s->inputs, (long long)s->outputs, (long long)s->stride);
}

static const mt_module_class shortcut_class = {.name = "Shortcut", .forward = forward, .describe = describe};

mt_module *mt_shortcut_new(int64_t inputs, int64_t outputs, int64_t stride) {
  if (outputs < inputs || (outputs - inputs) % 2 != 0)
    return mt_fail_null(MT_ERROR_ARGUMENT,
                        "Shortcut: outputs is %lld, expected the inputs (%lld) and an even number of channels more",
                        (long long)outputs, (long long)inputs);
  mt_module *m = mt_module_new(&shortcut_class, sizeof(shortcut_state));
  if (m) *(shortcut_state *)m->state = (shortcut_state){.inputs = inputs, .outputs = outputs, .stride = stride};
  return m;
}
