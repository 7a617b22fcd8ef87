#include "ops/conv_phase.h"

#include "kernels/kernels.h"

mt_conv_phase mt_conv_phase_of(int64_t first, int64_t size, int64_t kernel, int64_t stride, int64_t padding) {
  mt_conv_phase a = {.count = (size - first + stride - 1) / stride, .phase = (first + padding) % stride};
  a.taps = a.phase < kernel ? (kernel - a.phase + stride - 1) / stride : 0;
  a.origin = (first + padding) / stride - (a.taps - 1);
  return a;
}

void mt_conv_phase_pack(const mt_phase_weights *w, const mt_conv_phase axes[2], float *packed) {
  const int64_t in = w->in_channels, out = w->out_channels, total = axes[0].taps * axes[1].taps * out;
  for (int64_t y = 0; y < axes[0].taps; y++) {
    for (int64_t x = 0; x < axes[1].taps; x++) {
      const int64_t from_y = axes[0].phase + w->stride[0] * (axes[0].taps - 1 - y);
      const int64_t from_x = axes[1].phase + w->stride[1] * (axes[1].taps - 1 - x);
      mt_kernels->conv2d_pack(w->values + (from_y * w->kernel[1] + from_x) * in * out, out, 1, in, out,
                              (y * axes[1].taps + x) * out, total, packed);
    }
  }
}
