/* Conv2d: x {N,H,W,I} -> {N,OH,OW,O}. Slots weight {kH,kW,I,O} and, unless left out, bias {O}. */
#include <stdio.h>

#include "nn/layers.h"
#include "nn/norm.h"
#include "ops/conv2d.h"
#include "ops/conv2d_batchnorm.h"

typedef struct {
  int64_t inputs, outputs;
  mt_window window;
  bool bias;
} conv_state;

static mt_conv2d_params params_of(const mt_module *conv, bool relu) {
  const mt_window *w = &((const conv_state *)conv->state)->window;
  return (mt_conv2d_params){
      .stride = {w->stride[0], w->stride[1]}, .padding = {w->padding[0], w->padding[1]}, .relu = relu};
}

mt_tensor *mt_conv2d_run(mt_module *conv, mt_tensor *input, bool relu) {
  return mt_conv2d(input, mt_module_slot(conv, "weight"), mt_module_slot(conv, "bias"), params_of(conv, relu));
}

mt_tensor *mt_conv2d_batch_norm_run(mt_module *conv, mt_module *norm, mt_tensor *input, mt_tensor *residual,
                                    bool relu) {
  mt_tensor *output = mt_conv2d_batch_norm(
      input, mt_module_slot(conv, "weight"), mt_module_slot(conv, "bias"), params_of(conv, false),
      mt_module_slot(norm, "weight"), mt_module_slot(norm, "bias"), mt_module_slot(norm, "running_mean"),
      mt_module_slot(norm, "running_var"), mt_batch_norm_params_of(norm, residual, relu));
  return mt_batch_norm_counted(norm, output);
}

mt_conv2d_params mt_conv2d_params_of(const mt_module *conv) { return params_of(conv, false); }

static mt_tensor *forward(mt_module *self, mt_tensor *input) { return mt_conv2d_run(self, input, false); }

static void describe(const mt_module *self, char *text, size_t size) {
  const conv_state *s = self->state;
  const mt_window *w = &s->window;
  snprintf(text, size, "%lld, %lld, kernel %lldx%lld, stride %lldx%lld, padding %lldx%lld%s", (long long)s->inputs,
           (long long)s->outputs, (long long)w->kernel[0], (long long)w->kernel[1], (long long)w->stride[0],
           (long long)w->stride[1], (long long)w->padding[0], (long long)w->padding[1], s->bias ? "" : ", no bias");
}

static const mt_module_class conv2d_class = {.name = "Conv2d", .forward = forward, .describe = describe};

bool mt_is_conv2d(const mt_module *m) { return m->cls == &conv2d_class; }

mt_module *mt_conv2d_new(int64_t inputs, int64_t outputs, mt_window window, bool bias) {
  const int64_t shape[] = {window.kernel[0], window.kernel[1], inputs, outputs};
  if (mt_shape_count("Conv2d", 4, shape) < 0) return NULL;
  mt_module *m = mt_module_new(&conv2d_class, sizeof(conv_state));
  if (!m) return NULL;
  *(conv_state *)m->state = (conv_state){.inputs = inputs, .outputs = outputs, .window = window, .bias = bias};
  const int64_t fan_in = window.kernel[0] * window.kernel[1] * inputs;
  mt_tensor *weight = mt_init_fan_in(mt_tensor_new(MT_FLOAT32, 4, shape), fan_in);
  if (mt_module_add_slot(m, "weight", weight, MT_LAYOUT_CONV, false) == 0 &&
      (!bias || mt_module_add_slot(m, "bias", mt_init_fan_in(mt_tensor_new(MT_FLOAT32, 1, &outputs), fan_in),
                                   MT_LAYOUT_SAME, false) == 0))
    return m;
  mt_module_release(m);
  return NULL;
}
