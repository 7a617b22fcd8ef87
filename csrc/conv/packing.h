/* Weights as the kernels read them: in panels (kernels/conv2d.h), for Winograd transformed (kernels/winograd.h); and
 * the way back, from the threads' sums to the gradient of the weights. Depthwise ones stay as they are: taps, channels.
 */
#ifndef MT_CONV_PACKING_H
#define MT_CONV_PACKING_H

#include "conv/conv.h"

/* Floats of packed weights, and of transformed ones. */
int64_t mt_packed_floats(int64_t rows, int64_t channels);
int64_t mt_winograd_floats(int64_t in_c, int64_t out_c);

int64_t mt_conv_panel_channels(void);
int64_t mt_conv_panels(const mt_conv *c);
int64_t mt_conv_weight_floats(const mt_conv *c);
int64_t mt_conv_sum_floats(const mt_conv *c);

/* Where a convolution's taps lie in weights kH,kW,I,O: tap (y, x) is first + (y, x) * step. Exchanged: the convolution
 * goes from the O outputs to the I inputs. */
typedef struct {
  const float *weight;
  int64_t kernel_w, in_c, out_c;
  int64_t first[2], step[2];
  bool exchanged;
} mt_taps;

/* The taps of a convolution's own weights. */
mt_taps mt_conv_own_taps(const mt_conv *c, const float *weight);

/* Both run on all threads and return -1 when there is no memory. */
int mt_conv_prepare(const mt_conv *c, const mt_taps *taps, float *prepared);
/* Adds the sums of `copies` threads, which lie one after the other, into the gradient kH,kW,I,O. */
int mt_conv_weight_result(const mt_conv *c, const float *sums, int64_t copies, float *weight_grad);

#endif
