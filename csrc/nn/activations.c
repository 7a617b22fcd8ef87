/* Activations: one call each, on tensors of any shape. Softmax and LogSoftmax run over one axis. */
#include <stdio.h>

#include "nn/layers.h"
#include "ops/elementwise.h"
#include "ops/softmax.h"

/* ---- element by element ---- */

static mt_tensor *relu6_forward(mt_module *self, mt_tensor *input) {
  (void)self;
  return mt_clamp(input, 0.0, 6.0);
}

static mt_tensor *leaky_relu_forward(mt_module *self, mt_tensor *input) {
  return mt_leaky_relu(input, *(const double *)self->state);
}

static void leaky_relu_describe(const mt_module *self, char *text, size_t size) {
  snprintf(text, size, "slope %g", *(const double *)self->state);
}

static const mt_module_class relu6_class = {.name = "ReLU6", .forward = relu6_forward};
static const mt_module_class leaky_relu_class = {
    .name = "LeakyReLU", .forward = leaky_relu_forward, .describe = leaky_relu_describe};

mt_module *mt_relu6_new(void) { return mt_module_new(&relu6_class, 0); }

mt_module *mt_leaky_relu_new(double slope) {
  mt_module *m = mt_module_new(&leaky_relu_class, sizeof slope);
  if (m) *(double *)m->state = slope;
  return m;
}

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
