/* The gradient of a strided convolution's input, phase by phase: input coordinates first, first + stride, ... along an
 * axis meet only the kernel's taps phase, phase + stride, ... So each pair of phases is a convolution with stride 1 of
 * the output's gradient with a small kernel, turned around. */
#ifndef MT_OPS_CONV_PHASE_H
#define MT_OPS_CONV_PHASE_H

#include <stdint.h>

/* One phase along one axis. */
typedef struct {
  int64_t count;       /* of input coordinates: first, first + stride, ... below size */
  int64_t phase, taps; /* kernel coordinates phase, phase + stride, ... */
  int64_t origin;      /* the output coordinate that the last tap joins with `first` */
} mt_conv_phase;

mt_conv_phase mt_conv_phase_of(int64_t first, int64_t size, int64_t kernel, int64_t stride, int64_t padding);

/* What a convolution's weights kH,kW,I,O look like to the phases. */
typedef struct {
  const float *values;
  int64_t kernel[2], stride[2], in_channels, out_channels;
} mt_phase_weights;

/* Packs (kernels/conv2d.h) the kernel of a phase, flipped and with input and output channels exchanged. */
void mt_conv_phase_pack(const mt_phase_weights *w, const mt_conv_phase axes[2], float *packed);

#endif
