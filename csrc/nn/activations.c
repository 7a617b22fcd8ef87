/* Activations: one call each, on tensors of any shape. Softmax and LogSoftmax run over one axis. */
#include <stdio.h>

#include "nn/layers.h"
#include "ops/activation.h"
#include "ops/softmax.h"

/* ---- element by element ---- */

#define PLAIN(function, class_name, its_kind)                               \
  static mt_tensor *function##_forward(mt_module *self, mt_tensor *input) { \
    (void)self;                                                             \
    return mt_##function(input);                                            \
  }                                                                         \
  static const mt_module_class function##_class = {                         \
      .name = class_name, .kind = its_kind, .forward = function##_forward}; \
  mt_module *mt_##function##_new(void) { return mt_module_new(&function##_class, 0); }

PLAIN(sigmoid, "Sigmoid", MT_KIND_OTHER)
PLAIN(tanh, "Tanh", MT_KIND_OTHER)
PLAIN(silu, "SiLU", MT_KIND_OTHER)
PLAIN(relu6, "ReLU6", MT_KIND_RELU6)

/* The state of those with numbers: softplus's beta and threshold, leaky_relu's slope; of gelu: by tanh where not 0. */
typedef struct {
  double first, second;
} numbers;

static mt_module *with_numbers(const mt_module_class *cls, double first, double second) {
  mt_module *m = mt_module_new(cls, sizeof(numbers));
  if (m) *(numbers *)m->state = (numbers){first, second};
  return m;
}

static mt_tensor *gelu_forward(mt_module *self, mt_tensor *input) {
  return mt_gelu(input, ((const numbers *)self->state)->first != 0.0);
}

static void gelu_describe(const mt_module *self, char *text, size_t size) {
  snprintf(text, size, "%s", ((const numbers *)self->state)->first != 0.0 ? "by tanh" : "");
}

static mt_tensor *softplus_forward(mt_module *self, mt_tensor *input) {
  const numbers *n = self->state;
  return mt_softplus(input, n->first, n->second);
}

static void softplus_describe(const mt_module *self, char *text, size_t size) {
  const numbers *n = self->state;
  snprintf(text, size, "beta %g, threshold %g", n->first, n->second);
}

static mt_tensor *leaky_relu_forward(mt_module *self, mt_tensor *input) {
  return mt_leaky_relu(input, ((const numbers *)self->state)->first);
}

static void leaky_relu_describe(const mt_module *self, char *text, size_t size) {
  snprintf(text, size, "slope %g", ((const numbers *)self->state)->first);
}

static const mt_module_class gelu_class = {.name = "GELU", .forward = gelu_forward, .describe = gelu_describe};
static const mt_module_class softplus_class = {
    .name = "Softplus", .forward = softplus_forward, .describe = softplus_describe};
static const mt_module_class leaky_relu_class = {
    .name = "LeakyReLU", .forward = leaky_relu_forward, .describe = leaky_relu_describe};

mt_module *mt_gelu_new(bool by_tanh) { return with_numbers(&gelu_class, by_tanh ? 1.0 : 0.0, 0.0); }
mt_module *mt_softplus_new(double beta, double threshold) { return with_numbers(&softplus_class, beta, threshold); }
mt_module *mt_leaky_relu_new(double slope) { return with_numbers(&leaky_relu_class, slope, 0.0); }

/* ---- over an axis ---- */

/* The state is the axis as users write it: 1, 2, ... or -1, -2, ... from the end. */
static mt_tensor *over_axis(mt_module *self, mt_tensor *input, mt_tensor *(*run)(mt_tensor *t, int axis)) {
  const int axis = *(const int *)self->state, position = axis > 0 ? axis - 1 : input->ndim + axis;
  char text[MT_SHAPE_TEXT];
  if (position >= 0 && position < input->ndim) return run(input, position);
  return mt_fail_null(MT_ERROR_ARGUMENT, "%s: input has shape %s, expected one with an axis %d", self->cls->name,
                      mt_shape_text(input->ndim, input->shape, text), axis);
}

static mt_tensor *softmax_forward(mt_module *self, mt_tensor *input) { return over_axis(self, input, mt_softmax); }

static mt_tensor *log_softmax_forward(mt_module *self, mt_tensor *input) {
  return over_axis(self, input, mt_log_softmax);
}

static void axis_describe(const mt_module *self, char *text, size_t size) {
  snprintf(text, size, "axis %d", *(const int *)self->state);
}

static const mt_module_class softmax_class = {.name = "Softmax", .forward = softmax_forward, .describe = axis_describe};
static const mt_module_class log_softmax_class = {
    .name = "LogSoftmax", .forward = log_softmax_forward, .describe = axis_describe};

static mt_module *with_axis(const mt_module_class *cls, int axis) {
  mt_module *m = mt_module_new(cls, sizeof axis);
  if (m) *(int *)m->state = axis;
  return m;
}

mt_module *mt_softmax_new(int axis) { return with_axis(&softmax_class, axis); }
mt_module *mt_log_softmax_new(int axis) { return with_axis(&log_softmax_class, axis); }
