/* Conv2d: x {N,H,W,I} -> {N,OH,OW,O}. Slots weight {kH,kW,I/groups,O} and, unless left out, bias {O}. */
#include <stdio.h>

#include "nn/layers.h"
#include "nn/norm.h"
#include "ops/conv2d.h"
#include "ops/conv2d_batchnorm.h"

typedef struct {
  int64_t inputs, outputs;
  mt_conv2d_window window;
  bool bias;
} conv_state;

mt_conv2d_params mt_conv2d_params_of(const mt_module *conv) { return ((const conv_state *)conv->state)->window.params; }

bool mt_conv2d_is_same(const mt_module *conv) { return ((const conv_state *)conv->state)->window.same; }

/* With this input. */
static mt_conv2d_params params_for(const mt_module *conv, const mt_tensor *input, bool relu) {
  const mt_conv2d_window *w = &((const conv_state *)conv->state)->window;
  mt_conv2d_params p = w->params;
  p.relu = relu;
  if (w->same && input->ndim == 4) mt_conv2d_pad_same(&p, input->shape + 1, w->kernel);
  return p;
}

mt_tensor *mt_conv2d_run(mt_module *conv, mt_tensor *input, bool relu) {
  return mt_conv2d(input, mt_module_slot(conv, "weight"), mt_module_slot(conv, "bias"), params_for(conv, input, relu));
}

mt_tensor *mt_conv2d_batch_norm_run(mt_module *conv, mt_module *norm, mt_tensor *input, mt_tensor *residual,
                                    bool relu) {
  mt_tensor *output = mt_conv2d_batch_norm(
      input, mt_module_slot(conv, "weight"), mt_module_slot(conv, "bias"), params_for(conv, input, false),
      mt_module_slot(norm, "weight"), mt_module_slot(norm, "bias"), mt_module_slot(norm, "running_mean"),
      mt_module_slot(norm, "running_var"), mt_batch_norm_params_of(norm, residual, relu));
  return mt_batch_norm_counted(norm, output);
}

static mt_tensor *forward(mt_module *self, mt_tensor *input) { return mt_conv2d_run(self, input, false); }

/* ", padding 1x1", or what else it is. */
static int describe_padding(const mt_conv2d_window *w, char *text, size_t size) {
  const int64_t *before = w->params.padding, *more = w->params.surplus;
  if (w->same) return snprintf(text, size, ", padding same_upper");
  if (more[0] == 0 && more[1] == 0)
    return snprintf(text, size, ", padding %lldx%lld", (long long)before[0], (long long)before[1]);
  return snprintf(text, size, ", padding top %lld bottom %lld left %lld right %lld", (long long)before[0],
                  (long long)(before[0] + more[0]), (long long)before[1], (long long)(before[1] + more[1]));
}

static void describe(const mt_module *self, char *text, size_t size) {
  const conv_state *s = self->state;
  const mt_conv2d_window *w = &s->window;
  const mt_conv2d_params *p = &w->params;
  int used = snprintf(text, size, "%lld, %lld, kernel %lldx%lld, stride %lldx%lld", (long long)s->inputs,
                      (long long)s->outputs, (long long)w->kernel[0], (long long)w->kernel[1], (long long)p->stride[0],
                      (long long)p->stride[1]);
  used += describe_padding(w, text + used, size - (size_t)used);
  if (p->dilation[0] > 1 || p->dilation[1] > 1)
    used += snprintf(text + used, size - (size_t)used, ", dilation %lldx%lld", (long long)p->dilation[0],
                     (long long)p->dilation[1]);
  if (p->groups > 1) used += snprintf(text + used, size - (size_t)used, ", groups %lld", (long long)p->groups);
  snprintf(text + used, size - (size_t)used, "%s", s->bias ? "" : ", no bias");
}

static const mt_module_class conv2d_class = {
    .name = "Conv2d", .kind = MT_KIND_CONV2D, .forward = forward, .describe = describe};

/* At stride 1 the padding that keeps the size does not depend on it. */
static mt_conv2d_window resolved(mt_conv2d_window w) {
  if (!w.same || w.params.stride[0] > 1 || w.params.stride[1] > 1) return w;
  mt_conv2d_pad_same(&w.params, w.kernel, w.kernel);
  w.same = false;
  return w;
}

static int check_groups(int64_t inputs, int64_t outputs, int64_t groups) {
  if (inputs % groups == 0 && outputs % groups == 0) return 0;
  return mt_fail(MT_ERROR_ARGUMENT, "Conv2d: groups is %lld, expected a divisor of inputs (%lld) and outputs (%lld)",
                 (long long)groups, (long long)inputs, (long long)outputs);
}

mt_module *mt_conv2d_new(int64_t inputs, int64_t outputs, mt_conv2d_window window, bool bias) {
  if (check_groups(inputs, outputs, window.params.groups) < 0) return NULL;
  const int64_t shape[] = {window.kernel[0], window.kernel[1], inputs / window.params.groups, outputs};
  if (mt_shape_count("Conv2d", 4, shape) < 0) return NULL;
  mt_module *m = mt_module_new(&conv2d_class, sizeof(conv_state));
  if (!m) return NULL;
  *(conv_state *)m->state =
      (conv_state){.inputs = inputs, .outputs = outputs, .window = resolved(window), .bias = bias};
  const int64_t fan_in = shape[0] * shape[1] * shape[2];
  mt_tensor *weight = mt_init_fan_in(mt_tensor_new(MT_FLOAT32, 4, shape), fan_in);
  if (mt_module_add_slot(m, "weight", weight, MT_LAYOUT_CONV, false) == 0 &&
      (!bias || mt_module_add_slot(m, "bias", mt_init_fan_in(mt_tensor_new(MT_FLOAT32, 1, &outputs), fan_in),
                                   MT_LAYOUT_SAME, false) == 0))
    return m;
  mt_module_release(m);
  return NULL;
}
