/* Depthwise convolution: plain loops over the channels, which the compiler turns into vector code. Along each axis
 * output o and tap k meet at input o * stride - padding + k * dilation. */
#include <string.h>

#include "kernels/vector.h"

typedef struct {
  int64_t begin, end;
} range;

/* The outputs of an axis whose tap k lies inside the image. */
static range outputs_inside(const mt_depthwise_shape *s, int axis, int64_t k) {
  const int64_t stride = s->stride[axis], first = k * s->dilation[axis] - s->padding[axis];
  const int64_t last = s->in_size[axis] - 1 - first;
  range r = {first < 0 ? (-first + stride - 1) / stride : 0, last < 0 ? 0 : last / stride + 1};
  if (r.end > s->out_size[axis]) r.end = s->out_size[axis];
  return r;
}

/* The input coordinate under output o and tap k. */
static int64_t input_at(const mt_depthwise_shape *s, int axis, int64_t o, int64_t k) {
  return o * s->stride[axis] - s->padding[axis] + k * s->dilation[axis];
}

MT_INLINE void add_products(const float *restrict in, const float *restrict w, int64_t channels, int64_t multiplier,
                            float *restrict out) {
  if (multiplier == 1) {
    for (int64_t c = 0; c < channels; c++) out[c] += in[c] * w[c];
    return;
  }
  for (int64_t c = 0; c < channels; c++)
    for (int64_t j = c * multiplier; j < (c + 1) * multiplier; j++) out[j] += in[c] * w[j];
}

void MT_KERNEL(depthwise_row)(const mt_depthwise_shape *s, const float *in, const float *weights, const float *bias,
                              bool relu, int64_t row, float *out) {
  const int64_t outputs = s->channels * s->multiplier, count = s->out_size[1] * outputs;
  float *to = out + row * count;
  for (int64_t o = 0; o < s->out_size[1]; o++) {
    if (bias)
      memcpy(to + o * outputs, bias, (size_t)outputs * sizeof *to);
    else
      memset(to + o * outputs, 0, (size_t)outputs * sizeof *to);
  }
  for (int64_t ky = 0; ky < s->kernel[0]; ky++) {
    const int64_t y = input_at(s, 0, row, ky);
    if (y < 0 || y >= s->in_size[0]) continue;
    for (int64_t kx = 0; kx < s->kernel[1]; kx++) {
      const range xs = outputs_inside(s, 1, kx);
      const float *w = weights + (ky * s->kernel[1] + kx) * outputs;
      for (int64_t o = xs.begin; o < xs.end; o++)
        add_products(in + (y * s->in_size[1] + input_at(s, 1, o, kx)) * s->channels, w, s->channels, s->multiplier,
                     to + o * outputs);
    }
  }
  for (int64_t i = 0; relu && i < count; i++) to[i] = to[i] < 0.0f ? 0.0f : to[i];
}

/* in += sum over a channel's outputs of grad * w */
MT_INLINE void add_input_grad(const float *restrict grad, const float *restrict w, int64_t channels, int64_t multiplier,
                              float *restrict in) {
  if (multiplier == 1) {
    for (int64_t c = 0; c < channels; c++) in[c] += grad[c] * w[c];
    return;
  }
  for (int64_t c = 0; c < channels; c++)
    for (int64_t j = c * multiplier; j < (c + 1) * multiplier; j++) in[c] += grad[j] * w[j];
}

void MT_KERNEL(depthwise_grad_input_row)(const mt_depthwise_shape *s, const float *grad_out, const float *weights,
                                         int64_t row, float *grad_in) {
  const int64_t outputs = s->channels * s->multiplier;
  float *to = grad_in + row * s->in_size[1] * s->channels;
  memset(to, 0, (size_t)(s->in_size[1] * s->channels) * sizeof *to);
  for (int64_t ky = 0; ky < s->kernel[0]; ky++) {
    const int64_t at = row + s->padding[0] - ky * s->dilation[0], y = at / s->stride[0];
    if (at < 0 || at % s->stride[0] != 0 || y >= s->out_size[0]) continue;
    for (int64_t kx = 0; kx < s->kernel[1]; kx++) {
      const range xs = outputs_inside(s, 1, kx);
      const float *w = weights + (ky * s->kernel[1] + kx) * outputs;
      for (int64_t o = xs.begin; o < xs.end; o++)
        add_input_grad(grad_out + (y * s->out_size[1] + o) * outputs, w, s->channels, s->multiplier,
                       to + input_at(s, 1, o, kx) * s->channels);
    }
  }
}

MT_INLINE void add_weight_grad(const float *restrict in, const float *restrict grad, int64_t channels,
                               int64_t multiplier, float *restrict sums) {
  if (multiplier == 1) {
    for (int64_t c = 0; c < channels; c++) sums[c] += in[c] * grad[c];
    return;
  }
  for (int64_t c = 0; c < channels; c++)
    for (int64_t j = c * multiplier; j < (c + 1) * multiplier; j++) sums[j] += in[c] * grad[j];
}

void MT_KERNEL(depthwise_grad_weight)(const mt_depthwise_shape *s, const float *in, const float *grad_out,
                                      float *sums) {
  const int64_t outputs = s->channels * s->multiplier;
  for (int64_t ky = 0; ky < s->kernel[0]; ky++) {
    const range ys = outputs_inside(s, 0, ky);
    for (int64_t kx = 0; kx < s->kernel[1]; kx++) {
      const range xs = outputs_inside(s, 1, kx);
      for (int64_t y = ys.begin; y < ys.end; y++)
        for (int64_t o = xs.begin; o < xs.end; o++)
          add_weight_grad(in + (input_at(s, 0, y, ky) * s->in_size[1] + input_at(s, 1, o, kx)) * s->channels,
                          grad_out + (y * s->out_size[1] + o) * outputs, s->channels, s->multiplier,
                          sums + (ky * s->kernel[1] + kx) * outputs);
    }
  }
}
