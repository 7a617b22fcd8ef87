#include "conv/input_grad.h"

#include "core/minmax.h"

#include <assert.h>
#include <stddef.h>

/* One phase along one axis. */
typedef struct {
  int64_t count;       /* of input coordinates: first, first + stride, ... below size */
  int64_t phase, taps; /* kernel coordinates phase, phase + stride, ... */
  int64_t origin;      /* the output coordinate that the last tap joins with `first` */
} axis_phase;

static axis_phase phase_along(const mt_input_grad *g, int axis, int64_t first) {
  const int64_t size = axis ? g->in_w : g->in_h, stride = g->stride[axis], at = first + g->padding[axis];
  axis_phase a = {.count = (size - first + stride - 1) / stride, .phase = at % stride};
  a.taps = a.phase < g->kernel[axis] ? (g->kernel[axis] - a.phase + stride - 1) / stride : 0;
  a.origin = a.taps > 0 ? at / stride - (a.taps - 1) : 0;
  return a;
}

static int64_t phases_along(const mt_input_grad *g, int axis) {
  return mt_min64(g->stride[axis], axis ? g->in_w : g->in_h);
}

int64_t mt_input_grad_phases(const mt_input_grad *g) { return phases_along(g, 0) * phases_along(g, 1); }

mt_grad_phase mt_input_grad_phase(const mt_input_grad *g, const float *weight, int64_t i) {
  const int64_t first[2] = {i / phases_along(g, 1), i % phases_along(g, 1)};
  const axis_phase a[2] = {phase_along(g, 0, first[0]), phase_along(g, 1, first[1])};
  const bool touched = a[0].taps > 0 && a[1].taps > 0;
  mt_grad_phase p = {.taps = {weight, g->kernel[1], g->in_c, g->grad_c, .exchanged = true}};
  int64_t kernel[2], out[2], reach[2];
  for (int axis = 0; axis < 2; axis++) {
    kernel[axis] = touched ? a[axis].taps : 0;
    out[axis] = a[axis].count;
    reach[axis] = out[axis] - 1 + kernel[axis];
    p.first[axis] = first[axis];
    p.origin[axis] = touched ? a[axis].origin : 0;
    p.taps.first[axis] = a[axis].phase + g->stride[axis] * (a[axis].taps - 1);
    p.taps.step[axis] = -g->stride[axis];
  }
  const int64_t stride[2] = {1, 1};
  p.conv = g->depthwise ? mt_conv_plan_depthwise(kernel, stride, reach, g->in_c, out)
                        : mt_conv_plan(g->images, kernel, stride, reach, g->grad_c, out, g->in_c);
  return p;
}

mt_input_grad mt_input_grad_plan(const mt_conv *forward, int64_t images, const int64_t in_size[2],
                                 const int64_t padding[2], bool needed) {
  mt_input_grad g = {.images = images,
                     .grad_c = forward->out_c,
                     .in_h = in_size[0],
                     .in_w = in_size[1],
                     .in_c = forward->in_c,
                     .kernel = {forward->kernel[0], forward->kernel[1]},
                     .stride = {forward->stride[0], forward->stride[1]},
                     .padding = {padding[0], padding[1]},
                     .depthwise = forward->depthwise,
                     .needed = needed,
                     .lot = 1};
  int64_t end[2] = {mt_conv_grad_reach(forward, forward->out_h), mt_conv_grad_reach(forward, forward->out_w)};
  for (int64_t i = 0; needed && i < mt_input_grad_phases(&g); i++) {
    const mt_grad_phase p = mt_input_grad_phase(&g, NULL, i);
    const int64_t reach[2] = {p.conv.in_h, p.conv.in_w};
    g.lot = mt_max64(g.lot, p.conv.lot);
    g.weights = mt_max64(g.weights, mt_conv_weight_floats(&p.conv));
    g.scratch = mt_max64(g.scratch, mt_conv_scratch_floats(&p.conv));
    for (int axis = 0; p.conv.kernel[0] > 0 && axis < 2; axis++) {
      g.border[axis] = mt_max64(g.border[axis], -p.origin[axis]);
      end[axis] = mt_max64(end[axis], p.origin[axis] + reach[axis]);
    }
  }
  g.grad_h = g.border[0] + end[0];
  g.grad_w = g.border[1] + end[1];
  return g;
}

int mt_input_grad_prepare(const mt_input_grad *g, const float *weight, float *prepared) {
  for (int64_t i = 0; i < mt_input_grad_phases(g); i++) {
    const mt_grad_phase p = mt_input_grad_phase(g, weight, i);
    if (mt_conv_prepare(&p.conv, &p.taps, prepared + i * g->weights) < 0) return -1;
  }
  return 0;
}

void mt_input_grad_run(const mt_input_grad *g, int64_t images, const float *grads, const float *prepared,
                       float *grad_inputs, float *scratch) {
  const int64_t row = g->grad_w * g->grad_c;
  assert(g->needed);
  for (int64_t i = 0; i < mt_input_grad_phases(g); i++) {
    const mt_grad_phase p = mt_input_grad_phase(g, NULL, i);
    assert(p.origin[0] + g->border[0] >= 0 && p.origin[1] + g->border[1] >= 0);
    assert(p.conv.kernel[0] == 0 || p.origin[0] + g->border[0] + p.conv.in_h <= g->grad_h);
    const mt_conv_call call = {
        .images = images,
        .rows = p.conv.out_h,
        .in = grads + (g->border[0] + p.origin[0]) * row + (g->border[1] + p.origin[1]) * g->grad_c,
        .in_row = row,
        .in_image = mt_input_grad_count(g),
        .weights = prepared + i * g->weights,
        .out = grad_inputs + (p.first[0] * g->in_w + p.first[1]) * g->in_c,
        .out_pixel = g->stride[1] * g->in_c,
        .out_row = g->stride[0] * g->in_w * g->in_c,
        .out_image = g->in_h * g->in_w * g->in_c,
        .scratch = scratch};
    mt_conv_run(&p.conv, &call);
  }
}
