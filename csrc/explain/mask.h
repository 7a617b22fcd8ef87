/* From heatmap to mask: which pixels of an image are kept (1) and which are masked (0).
 *
 * Protocol "paper" works on the raw heatmap at the layer's resolution and enlarges the mask (nearest). Protocol
 * "reference" scales each heatmap to [0,1] (x - min)/(max - min), enlarges it bilinearly to the image's size, scales it
 * again, and takes its statistics over the values > 0 only. The values a rule looks at are called the surface.
 *
 * A heatmap whose values are all alike points nowhere: it masks nothing, whatever the rule. One with NaN or infinity is
 * an error that names the image. */
#ifndef MT_EXPLAIN_MASK_H
#define MT_EXPLAIN_MASK_H

#include "core/tensor.h"

typedef enum { MT_PROTOCOL_PAPER, MT_PROTOCOL_REFERENCE } mt_protocol;

typedef enum {
  MT_RULE_SIGMA,       /* masks values > mean + k * std (population) of the image's surface */
  MT_RULE_GLOBAL_MEAN, /* masks values > `mean`, one number for all images */
  MT_RULE_SOFT,        /* keeps 1 - the surface scaled to [0,1] of every pixel */
  MT_RULE_TOPK         /* masks the `top` highest values; of equals the first; never the surface's lowest value */
} mt_mask_rule;

typedef struct {
  mt_protocol protocol;
  mt_mask_rule rule;
  double k, mean;
  int64_t top;
  int64_t size[2]; /* height and width of the image */
} mt_mask_options;

/* heat: float32 {N,h,w} without NaN and infinity; -1 with "op: heat of image i holds ...". */
int mt_heat_check_finite(const mt_tensor *heat, const char *op);

/* heat: float32 {N,h,w}. Returns {N,height,width}: uint8, float32 for the soft rule. */
mt_tensor *mt_mask_threshold(const mt_tensor *heat, const mt_mask_options *options);

/* The mean over all images of the surface's values (reference: of those > 0), and how many they are. 0 for none. */
int mt_mask_mean(const mt_tensor *heat, mt_protocol protocol, const int64_t size[2], double *mean, int64_t *count);

/* images: uint8 or float32 {N,H,W,C}; keep: uint8 (0 masks, anything else keeps) or float32 in [0,1] (the share kept),
 * {N,H,W}. Returns images * keep in the images' dtype; a masked pixel is 0 even where it was NaN. */
mt_tensor *mt_mask_apply(const mt_tensor *images, const mt_tensor *keep);

/* The same for one uint8 image in place, by shares. */
void mt_mask_dim_bytes(uint8_t *image, const float *keep, int64_t pixels, int64_t channels);

#endif
