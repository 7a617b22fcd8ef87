/* LayerNorm, x {...,shape}; GroupNorm, x {N,...,C}; InstanceNorm2d, x {N,H,W,C}. Slots, where they are wanted: weight
 * and bias, and for an InstanceNorm2d that tracks statistics running_mean, running_var and num_batches_tracked. */
#include "ops/group_norm.h"

#include <stdio.h>
#include <string.h>

#include "nn/layers.h"
#include "ops/batchnorm.h"
#include "ops/reduce.h"
#include "ops/variance.h"

static int add_filled(mt_module *m, const char *name, int ndim, const int64_t *shape, double value, bool is_buffer) {
  const mt_layout layout = ndim == 3 ? MT_LAYOUT_IMAGE : MT_LAYOUT_SAME;
  return mt_module_add_slot(m, name, mt_tensor_full(MT_FLOAT32, ndim, shape, value), layout, is_buffer);
}

static int add_affine(mt_module *m, int ndim, const int64_t *shape, bool weight, bool bias) {
  if (weight && add_filled(m, "weight", ndim, shape, 1.0, false) < 0) return -1;
  return bias ? add_filled(m, "bias", ndim, shape, 0.0, false) : 0;
}

static mt_module *kept_if(mt_module *m, int status) {
  if (status == 0) return m;
  mt_module_release(m);
  return NULL;
}

static const char *affine_text(const mt_module *m) { return mt_module_slot(m, "weight") ? "" : ", no weight"; }

/* ---- LayerNorm ---- */

typedef struct {
  int ndim;
  int64_t shape[MT_MAX_DIMS];
  double eps;
} layer_state;

static mt_tensor *layer_forward(mt_module *self, mt_tensor *input) {
  const layer_state *s = self->state;
  return mt_layer_norm(input, s->ndim, s->shape, mt_module_slot(self, "weight"), mt_module_slot(self, "bias"), s->eps);
}

static void layer_describe(const mt_module *self, char *text, size_t size) {
  const layer_state *s = self->state;
  char shape[MT_SHAPE_TEXT];
  snprintf(text, size, "%s, eps %g%s%s", mt_shape_text(s->ndim, s->shape, shape), s->eps, affine_text(self),
           mt_module_slot(self, "bias") ? "" : ", no bias");
}

static const mt_module_class layer_class = {.name = "LayerNorm", .forward = layer_forward, .describe = layer_describe};

mt_module *mt_layer_norm_new(int ndim, const int64_t *shape, double eps, bool weight, bool bias) {
  if (mt_shape_count("LayerNorm", ndim, shape) < 0) return NULL;
  mt_module *m = mt_module_new(&layer_class, sizeof(layer_state));
  if (!m) return NULL;
  layer_state *s = m->state;
  s->ndim = ndim;
  s->eps = eps;
  memcpy(s->shape, shape, (size_t)ndim * sizeof *shape);
  return kept_if(m, add_affine(m, ndim, shape, weight, bias));
}

/* ---- GroupNorm ---- */

typedef struct {
  int64_t groups, channels;
  double eps;
} group_state;

static mt_tensor *group_forward(mt_module *self, mt_tensor *input) {
  const group_state *s = self->state;
  char text[MT_SHAPE_TEXT];
  if (input->ndim < 2 || input->shape[input->ndim - 1] != s->channels)
    return mt_fail_null(MT_ERROR_ARGUMENT, "GroupNorm: input has shape %s, expected {N,...,%lld}",
                        mt_shape_text(input->ndim, input->shape, text), (long long)s->channels);
  return mt_group_norm(input, s->groups, mt_module_slot(self, "weight"), mt_module_slot(self, "bias"), s->eps);
}

static void group_describe(const mt_module *self, char *text, size_t size) {
  const group_state *s = self->state;
  snprintf(text, size, "%lld, %lld, eps %g%s", (long long)s->groups, (long long)s->channels, s->eps, affine_text(self));
}

static const mt_module_class group_class = {.name = "GroupNorm", .forward = group_forward, .describe = group_describe};

mt_module *mt_group_norm_new(int64_t groups, int64_t channels, double eps, bool affine) {
  if (channels % groups != 0)
    return mt_fail_null(MT_ERROR_ARGUMENT, "GroupNorm: groups is %lld, expected a divisor of channels (%lld)",
                        (long long)groups, (long long)channels);
  mt_module *m = mt_module_new(&group_class, sizeof(group_state));
  if (!m) return NULL;
  *(group_state *)m->state = (group_state){groups, channels, eps};
  return kept_if(m, add_affine(m, 1, &channels, affine, affine));
}

/* ---- InstanceNorm2d ---- */

typedef struct {
  int64_t channels;
  double eps, momentum;
  bool tracks;
} instance_state;

/* running += momentum * (the mean over the samples of `values` {N,C} - running) */
static void move_towards(mt_tensor *running, const mt_tensor *values, double momentum) {
  const int64_t samples = values->shape[0], channels = values->shape[1];
  for (int64_t c = 0; c < channels; c++) {
    double sum = 0.0;
    for (int64_t n = 0; n < samples; n++) sum += (double)mt_f32(values)[n * channels + c];
    const double before = (double)mt_f32(running)[c];
    mt_f32(running)[c] = (float)(before + momentum * (sum / (double)samples - before));
  }
  mt_touch(running);
}

static int track(mt_module *self, const mt_tensor *input) {
  const instance_state *s = self->state;
  const unsigned pixels = 1u << 1 | 1u << 2;
  mt_tensor *values = mt_tensor_detach(input);
  mt_tensor *mean = values ? mt_mean(values, pixels, false) : NULL;
  mt_tensor *var = mean ? mt_var(values, pixels, false, true) : NULL;
  if (var && input->shape[0] > 0) {
    move_towards(mt_module_slot(self, "running_mean"), mean, s->momentum);
    move_towards(mt_module_slot(self, "running_var"), var, s->momentum);
  }
  const int status = var ? 0 : -1;
  mt_release(values);
  mt_release(mean);
  mt_release(var);
  return status;
}

/* With the running statistics it is a batch norm in evaluation. */
static mt_tensor *with_running(mt_module *self, mt_tensor *input) {
  const instance_state *s = self->state;
  mt_tensor *weight = mt_module_slot(self, "weight"), *bias = mt_module_slot(self, "bias");
  weight = weight ? mt_retain(weight) : mt_tensor_full(MT_FLOAT32, 1, &s->channels, 1.0);
  bias = bias ? mt_retain(bias) : mt_tensor_zeros(MT_FLOAT32, 1, &s->channels);
  mt_tensor *output = NULL;
  if (weight && bias)
    output = mt_batch_norm(input, weight, bias, mt_module_slot(self, "running_mean"),
                           mt_module_slot(self, "running_var"), (mt_batch_norm_params){.eps = (float)s->eps});
  mt_release(weight);
  mt_release(bias);
  return output;
}

static mt_tensor *instance_forward(mt_module *self, mt_tensor *input) {
  const instance_state *s = self->state;
  char text[MT_SHAPE_TEXT];
  if (input->ndim != 4 || input->shape[3] != s->channels)
    return mt_fail_null(MT_ERROR_ARGUMENT, "InstanceNorm2d: input has shape %s, expected {N,H,W,%lld}",
                        mt_shape_text(input->ndim, input->shape, text), (long long)s->channels);
  if (s->tracks && !mt_module_is_training(self)) return with_running(self, input);
  mt_tensor *output = mt_instance_norm(input, mt_module_slot(self, "weight"), mt_module_slot(self, "bias"), s->eps);
  if (!output || !s->tracks || track(self, input) == 0) return output;
  mt_release(output);
  return NULL;
}

static void instance_describe(const mt_module *self, char *text, size_t size) {
  const instance_state *s = self->state;
  const int used = snprintf(text, size, "%lld, eps %g%s", (long long)s->channels, s->eps, affine_text(self));
  if (s->tracks) snprintf(text + used, size - (size_t)used, ", momentum %g", s->momentum);
}

static const mt_module_class instance_class = {
    .name = "InstanceNorm2d", .forward = instance_forward, .describe = instance_describe};

/* num_batches_tracked stays 0 in PyTorch too. */
static int add_statistics(mt_module *m, int64_t channels) {
  if (add_filled(m, "running_mean", 1, &channels, 0.0, true) < 0 ||
      add_filled(m, "running_var", 1, &channels, 1.0, true) < 0)
    return -1;
  return mt_module_add_slot(m, "num_batches_tracked", mt_tensor_zeros(MT_INT32, 0, NULL), MT_LAYOUT_SAME, true);
}

mt_module *mt_instance_norm2d_new(int64_t channels, double eps, double momentum, bool affine, bool tracks) {
  mt_module *m = mt_module_new(&instance_class, sizeof(instance_state));
  if (!m) return NULL;
  *(instance_state *)m->state = (instance_state){channels, eps, momentum, tracks};
  if (add_affine(m, 1, &channels, affine, affine) < 0) return kept_if(m, -1);
  return kept_if(m, tracks ? add_statistics(m, channels) : 0);
}
