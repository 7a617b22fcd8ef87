/* Depthwise convolution over plain pointers: output channel c * multiplier + j sees input channel c alone. Images are
 * N,H,W,C, weights kH,kW,C * multiplier. The same bits come out with every number of threads. */
#ifndef MT_CONV_DEPTHWISE_H
#define MT_CONV_DEPTHWISE_H

#include <stdint.h>

typedef struct {
  int64_t images, channels, multiplier; /* channels: of the input */
  int64_t in_size[2], out_size[2], kernel[2], stride[2], padding[2], dilation[2];
} mt_depthwise;

/* bias may be NULL; the output is clamped to [low, high] (+-INFINITY: not at all). All three return -1 when there is no
 * memory for scratch. */
int mt_depthwise_forward(const mt_depthwise *d, const float *input, const float *weight, const float *bias, float low,
                         float high, float *output);
int mt_depthwise_grad_input(const mt_depthwise *d, const float *weight, const float *grad_output, float *grad_input);
int mt_depthwise_grad_weight(const mt_depthwise *d, const float *input, const float *grad_output, float *grad_weight);

#endif
