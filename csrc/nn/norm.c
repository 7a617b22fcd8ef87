/* BatchNorm1d, x {N,C}, and BatchNorm2d, x {N,H,W,C}. Slots weight, bias, running_mean, running_var {C} and the
 * scalar num_batches_tracked, which PyTorch keeps too. */
#include "nn/norm.h"

#include <stdio.h>

#include "nn/layers.h"

typedef struct {
  int64_t channels;
  double eps, momentum;
  int axes; /* of the input */
} norm_state;

mt_batch_norm_params mt_batch_norm_params_of(const mt_module *norm, mt_tensor *residual, bool relu) {
  const norm_state *s = norm->state;
  return (mt_batch_norm_params){.training = mt_module_is_training(norm),
                                .momentum = (float)s->momentum,
                                .eps = (float)s->eps,
                                .relu = relu,
                                .residual = residual};
}

mt_tensor *mt_batch_norm_counted(mt_module *norm, mt_tensor *output) {
  if (!output || !mt_module_is_training(norm)) return output;
  mt_tensor *batches = mt_module_slot(norm, "num_batches_tracked");
  mt_i32(batches)[0]++;
  mt_touch(batches);
  return output;
}

mt_tensor *mt_batch_norm_run(mt_module *norm, mt_tensor *input, mt_tensor *residual, bool relu) {
  const norm_state *s = norm->state;
  if (mt_expect_ndim(input, s->axes, norm->cls->name, "input", s->axes == 2 ? "{N,C}" : "{N,H,W,C}") < 0) return NULL;
  mt_tensor *output = mt_batch_norm(input, mt_module_slot(norm, "weight"), mt_module_slot(norm, "bias"),
                                    mt_module_slot(norm, "running_mean"), mt_module_slot(norm, "running_var"),
                                    mt_batch_norm_params_of(norm, residual, relu));
  return mt_batch_norm_counted(norm, output);
}

static mt_tensor *forward(mt_module *self, mt_tensor *input) { return mt_batch_norm_run(self, input, NULL, false); }

static void describe(const mt_module *self, char *text, size_t size) {
  const norm_state *s = self->state;
  snprintf(text, size, "%lld, eps %g, momentum %g", (long long)s->channels, s->eps, s->momentum);
}

static const mt_module_class norm1d_class = {
    .name = "BatchNorm1d", .kind = MT_KIND_BATCH_NORM1D, .forward = forward, .describe = describe};
static const mt_module_class norm2d_class = {
    .name = "BatchNorm2d", .kind = MT_KIND_BATCH_NORM2D, .forward = forward, .describe = describe};

static int add_slots(mt_module *m, int64_t channels) {
  static const struct {
    const char *name;
    double value;
    bool is_buffer;
  } slots[] = {{"weight", 1.0, false}, {"bias", 0.0, false}, {"running_mean", 0.0, true}, {"running_var", 1.0, true}};
  for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
    mt_tensor *t = mt_tensor_full(MT_FLOAT32, 1, &channels, slots[i].value);
    if (mt_module_add_slot(m, slots[i].name, t, MT_LAYOUT_SAME, slots[i].is_buffer) < 0) return -1;
  }
  return mt_module_add_slot(m, "num_batches_tracked", mt_tensor_zeros(MT_INT32, 0, NULL), MT_LAYOUT_SAME, true);
}

static mt_module *norm_new(const mt_module_class *cls, norm_state state) {
  mt_module *m = mt_module_new(cls, sizeof state);
  if (!m) return NULL;
  *(norm_state *)m->state = state;
  if (add_slots(m, state.channels) == 0) return m;
  mt_module_release(m);
  return NULL;
}

mt_module *mt_batch_norm1d_new(int64_t channels, double eps, double momentum) {
  return norm_new(&norm1d_class, (norm_state){.channels = channels, .eps = eps, .momentum = momentum, .axes = 2});
}

mt_module *mt_batch_norm2d_new(int64_t channels, double eps, double momentum) {
  return norm_new(&norm2d_class, (norm_state){.channels = channels, .eps = eps, .momentum = momentum, .axes = 4});
}
