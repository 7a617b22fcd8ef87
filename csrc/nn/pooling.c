/* MaxPool2d and AvgPool2d, x {N,H,W,C} -> {N,OH,OW,C}, and GlobalAvgPool2d, x {N,H,W,C} -> {N,C}. */
#include <stdio.h>

#include "nn/layers.h"
#include "ops/pool.h"

static mt_tensor *max_forward(mt_module *self, mt_tensor *input) {
  const mt_window *w = self->state;
  return mt_max_pool2d(input, w->kernel, w->stride, w->padding);
}

static mt_tensor *avg_forward(mt_module *self, mt_tensor *input) {
  const mt_window *w = self->state;
  return mt_avg_pool2d(input, w->kernel, w->stride, w->padding);
}

static mt_tensor *global_avg_forward(mt_module *self, mt_tensor *input) {
  (void)self;
  return mt_global_avg_pool(input);
}

static void describe(const mt_module *self, char *text, size_t size) {
  const mt_window *w = self->state;
  snprintf(text, size, "kernel %lldx%lld, stride %lldx%lld, padding %lldx%lld", (long long)w->kernel[0],
           (long long)w->kernel[1], (long long)w->stride[0], (long long)w->stride[1], (long long)w->padding[0],
           (long long)w->padding[1]);
}

static const mt_module_class max_class = {.name = "MaxPool2d", .forward = max_forward, .describe = describe};
static const mt_module_class avg_class = {.name = "AvgPool2d", .forward = avg_forward, .describe = describe};
static const mt_module_class global_avg_class = {.name = "GlobalAvgPool2d", .forward = global_avg_forward};

int64_t mt_max_pool2d_tile(const mt_module *m) {
  if (m->cls != &max_class) return 0;
  const mt_window *w = m->state;
  const bool tiles = w->kernel[0] == w->kernel[1] && w->stride[0] == w->kernel[0] && w->stride[1] == w->kernel[1] &&
                     w->padding[0] == 0 && w->padding[1] == 0;
  return tiles ? w->kernel[0] : 0;
}

static mt_module *windowed(const mt_module_class *cls, mt_window window) {
  mt_module *m = mt_module_new(cls, sizeof window);
  if (m) *(mt_window *)m->state = window;
  return m;
}

mt_module *mt_max_pool2d_new(mt_window window) { return windowed(&max_class, window); }
mt_module *mt_avg_pool2d_new(mt_window window) { return windowed(&avg_class, window); }
mt_module *mt_global_avg_pool_new(void) { return mt_module_new(&global_avg_class, 0); }
