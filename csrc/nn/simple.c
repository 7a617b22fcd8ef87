/* Layers without parameters that are one call each: ReLU, Flatten, Identity, Dropout, ZeroPad2d. */
#include <stdio.h>

#include "nn/layers.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/flatten.h"

static mt_tensor *relu_forward(mt_module *self, mt_tensor *input) {
  (void)self;
  return mt_relu(input);
}

static mt_tensor *flatten_forward(mt_module *self, mt_tensor *input) {
  (void)self;
  return mt_flatten(input);
}

static mt_tensor *identity_forward(mt_module *self, mt_tensor *input) {
  (void)self;
  return mt_retain(input);
}

static mt_tensor *dropout_forward(mt_module *self, mt_tensor *input) {
  return mt_module_is_training(self) ? mt_dropout(input, *(const double *)self->state, NULL) : mt_retain(input);
}

static void dropout_describe(const mt_module *self, char *text, size_t size) {
  snprintf(text, size, "p %g", *(const double *)self->state);
}

static mt_tensor *zero_pad_forward(mt_module *self, mt_tensor *input) {
  return mt_zero_pad2d(input, *(const mt_sides *)self->state);
}

static void zero_pad_describe(const mt_module *self, char *text, size_t size) {
  const mt_sides *s = self->state;
  snprintf(text, size, "top %lld, bottom %lld, left %lld, right %lld", (long long)s->top, (long long)s->bottom,
           (long long)s->left, (long long)s->right);
}

static const mt_module_class relu_class = {.name = "ReLU", .kind = MT_KIND_RELU, .forward = relu_forward};
static const mt_module_class flatten_class = {.name = "Flatten", .forward = flatten_forward};
static const mt_module_class identity_class = {.name = "Identity", .forward = identity_forward};
static const mt_module_class dropout_class = {
    .name = "Dropout", .forward = dropout_forward, .describe = dropout_describe};

static const mt_module_class zero_pad_class = {
    .name = "ZeroPad2d", .forward = zero_pad_forward, .describe = zero_pad_describe};

mt_module *mt_relu_new(void) { return mt_module_new(&relu_class, 0); }
mt_module *mt_flatten_new(void) { return mt_module_new(&flatten_class, 0); }
mt_module *mt_identity_new(void) { return mt_module_new(&identity_class, 0); }

mt_module *mt_dropout_new(double p) {
  mt_module *m = mt_module_new(&dropout_class, sizeof p);
  if (m) *(double *)m->state = p;
  return m;
}

mt_module *mt_zero_pad2d_new(mt_sides sides) {
  mt_module *m = mt_module_new(&zero_pad_class, sizeof sides);
  if (m) *(mt_sides *)m->state = sides;
  return m;
}
