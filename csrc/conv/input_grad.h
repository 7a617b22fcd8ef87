/* From the gradient of a convolution's output to that of its input, phase by phase: along an axis the input's
 * coordinates first, first + stride, ... meet only the kernel's taps phase, phase + stride, ... So each pair of phases
 * is a convolution (conv/conv.h) with stride 1 of the output's gradient with a small kernel, turned around; with stride
 * 1 there is one, with the whole kernel. */
#ifndef MT_CONV_INPUT_GRAD_H
#define MT_CONV_INPUT_GRAD_H

#include "conv/packing.h"

typedef struct {
  int64_t images;                 /* in all */
  int64_t grad_h, grad_w, grad_c; /* of a padded image of the output's gradient */
  int64_t border[2];              /* rows above and columns left of the gradient itself */
  int64_t in_h, in_w, in_c;       /* of the input, without padding */
  int64_t kernel[2], stride[2], padding[2];
  bool depthwise;
  bool needed;                   /* false: only the padded size is used, for the gradient of the weights */
  int64_t lot, weights, scratch; /* the most of any phase: images at a time, floats of both */
} mt_input_grad;

/* `images`, `in_size` and `padding` are those of the forward convolution's input. The padded gradient also reaches as
 * far as mt_conv_weight_grad wants it. */
mt_input_grad mt_input_grad_plan(const mt_conv *forward, int64_t images, const int64_t in_size[2],
                                 const int64_t padding[2], bool needed);

static inline int64_t mt_input_grad_count(const mt_input_grad *g) { return g->grad_h * g->grad_w * g->grad_c; }

/* One phase: without taps where these inputs meet none. */
typedef struct {
  mt_conv conv;
  int64_t first[2];  /* input coordinates */
  int64_t origin[2]; /* the output coordinates under its first tap, maybe outside */
  mt_taps taps;
} mt_grad_phase;

int64_t mt_input_grad_phases(const mt_input_grad *g);
mt_grad_phase mt_input_grad_phase(const mt_input_grad *g, const float *weight, int64_t i);

/* All phases' weights, g->weights floats apart. weight: kH,kW,I,O of the forward convolution. -1: no memory. */
int mt_input_grad_prepare(const mt_input_grad *g, const float *weight, float *prepared);

/* `images` padded gradients, contiguous, to as many gradients of the input, contiguous too. For one thread. */
void mt_input_grad_run(const mt_input_grad *g, int64_t images, const float *grads, const float *prepared,
                       float *grad_inputs, float *scratch);

#endif
