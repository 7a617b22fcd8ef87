/* MaxPool2d, AvgPool2d, AdaptiveAvgPool2d and AdaptiveMaxPool2d, x {N,H,W,C} -> {N,OH,OW,C}, and GlobalAvgPool2d,
 * x {N,H,W,C} -> {N,C}. */
#include <stdio.h>

#include "nn/layers.h"
#include "ops/adaptive_pool.h"

static mt_tensor *max_forward(mt_module *self, mt_tensor *input) { return mt_max_pool2d(input, self->state); }

static mt_tensor *avg_forward(mt_module *self, mt_tensor *input) { return mt_avg_pool2d(input, self->state); }

static mt_tensor *global_avg_forward(mt_module *self, mt_tensor *input) {
  (void)self;
  return mt_global_avg_pool(input);
}

static void describe(const mt_module *self, char *text, size_t size) {
  const mt_pool2d_params *p = self->state;
  int used = snprintf(text, size, "kernel %lldx%lld, stride %lldx%lld, padding %lldx%lld", (long long)p->kernel[0],
                      (long long)p->kernel[1], (long long)p->stride[0], (long long)p->stride[1],
                      (long long)p->padding[0], (long long)p->padding[1]);
  if (p->dilation[0] > 1 || p->dilation[1] > 1)
    used += snprintf(text + used, size - (size_t)used, ", dilation %lldx%lld", (long long)p->dilation[0],
                     (long long)p->dilation[1]);
  snprintf(text + used, size - (size_t)used, "%s%s", p->ceil_mode ? ", ceil_mode" : "",
           p->ignore_pad ? ", padding not counted" : "");
}

static const mt_module_class max_class = {
    .name = "MaxPool2d", .kind = MT_KIND_MAX_POOL2D, .forward = max_forward, .describe = describe};
static const mt_module_class avg_class = {.name = "AvgPool2d", .forward = avg_forward, .describe = describe};
static const mt_module_class global_avg_class = {.name = "GlobalAvgPool2d", .forward = global_avg_forward};

int64_t mt_max_pool2d_tile(const mt_module *m) {
  if (m->cls->kind != MT_KIND_MAX_POOL2D) return 0;
  const mt_pool2d_params *p = m->state;
  const bool tiles = p->kernel[0] == p->kernel[1] && p->stride[0] == p->kernel[0] && p->stride[1] == p->kernel[1] &&
                     p->padding[0] == 0 && p->padding[1] == 0 && p->dilation[0] == 1 && p->dilation[1] == 1;
  return tiles && !p->ceil_mode ? p->kernel[0] : 0;
}

static mt_module *windowed(const mt_module_class *cls, mt_pool2d_params params) {
  mt_module *m = mt_module_new(cls, sizeof params);
  if (m) *(mt_pool2d_params *)m->state = params;
  return m;
}

mt_module *mt_max_pool2d_new(mt_pool2d_params params) { return windowed(&max_class, params); }
mt_module *mt_avg_pool2d_new(mt_pool2d_params params) { return windowed(&avg_class, params); }
mt_module *mt_global_avg_pool_new(void) { return mt_module_new(&global_avg_class, 0); }

/* ---- to a given size ---- */

static mt_tensor *adaptive_avg_forward(mt_module *self, mt_tensor *input) {
  return mt_adaptive_avg_pool2d(input, self->state);
}

static mt_tensor *adaptive_max_forward(mt_module *self, mt_tensor *input) {
  return mt_adaptive_max_pool2d(input, self->state);
}

static void adaptive_describe(const mt_module *self, char *text, size_t size) {
  const int64_t *sizes = self->state;
  char names[2][24];
  for (int i = 0; i < 2; i++)
    snprintf(names[i], sizeof names[i], sizes[i] > 0 ? "%lld" : "the input's", (long long)sizes[i]);
  snprintf(text, size, "%s x %s", names[0], names[1]);
}

static const mt_module_class adaptive_avg_class = {
    .name = "AdaptiveAvgPool2d", .forward = adaptive_avg_forward, .describe = adaptive_describe};
static const mt_module_class adaptive_max_class = {
    .name = "AdaptiveMaxPool2d", .forward = adaptive_max_forward, .describe = adaptive_describe};

static mt_module *sized(const mt_module_class *cls, const int64_t size[2]) {
  mt_module *m = mt_module_new(cls, 2 * sizeof size[0]);
  for (int i = 0; m && i < 2; i++) ((int64_t *)m->state)[i] = size[i];
  return m;
}

mt_module *mt_adaptive_avg_pool2d_new(const int64_t size[2]) { return sized(&adaptive_avg_class, size); }
mt_module *mt_adaptive_max_pool2d_new(const int64_t size[2]) { return sized(&adaptive_max_class, size); }
