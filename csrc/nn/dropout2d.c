/* Dropout2d: in training zeroes whole channels of {N,H,W,C} (or single values of {N,C}) with probability p and divides
 * the others by 1 - p: an ordinary dropout of ones, {N,1,1,C}, multiplied in (Tompson et al. 2015). */
#include <stdio.h>

#include "nn/layers.h"
#include "ops/binary.h"
#include "ops/dropout.h"

static mt_tensor *channel_mask(const mt_tensor *input, double p) {
  int64_t shape[MT_MAX_DIMS];
  for (int i = 0; i < input->ndim; i++) shape[i] = i == 0 || i == input->ndim - 1 ? input->shape[i] : 1;
  mt_tensor *ones = mt_tensor_full(MT_FLOAT32, input->ndim, shape, 1.0);
  mt_tensor *mask = ones ? mt_dropout(ones, p, NULL) : NULL;
  mt_release(ones);
  return mask;
}

static mt_tensor *forward(mt_module *self, mt_tensor *input) {
  char text[MT_SHAPE_TEXT];
  if (input->ndim != 2 && input->ndim != 4)
    return mt_fail_null(MT_ERROR_ARGUMENT, "Dropout2d: input has shape %s, expected {N,H,W,C} or {N,C}",
                        mt_shape_text(input->ndim, input->shape, text));
  if (mt_expect_dtype(input, MT_FLOAT32, "Dropout2d", "input") < 0) return NULL;
  if (!mt_module_is_training(self)) return mt_retain(input);
  mt_tensor *mask = channel_mask(input, *(const double *)self->state);
  mt_tensor *output = mask ? mt_mul(input, mask) : NULL;
  mt_release(mask);
  return output;
}

static void describe(const mt_module *self, char *text, size_t size) {
  snprintf(text, size, "p %g", *(const double *)self->state);
}

static const mt_module_class dropout2d_class = {.name = "Dropout2d", .forward = forward, .describe = describe};

mt_module *mt_dropout2d_new(double p) {
  mt_module *m = mt_module_new(&dropout2d_class, sizeof p);
  if (m) *(double *)m->state = p;
  return m;
}
