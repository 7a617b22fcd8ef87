/* Class activation maps: activations and gradients at a layer -> channel weights -> heatmap.
 *
 * The heatmap is max(0, sum_k w_k A_k), A_k(i,j) the activation of channel k. The methods differ only in the rule that
 * gives the weights w_k; everything else is shared: the net runs in eval mode, once forward and once backward (from the
 * sum of the target logits down to the layer, never into parameters), and is left in the modes it had. */
#ifndef MT_EXPLAIN_CAM_H
#define MT_EXPLAIN_CAM_H

#include "core/tensor.h"
#include "nn/module.h"

typedef struct {
  const char *name;
  /* The weights of one image's channels. activation, gradient: {positions, channels}; sums: room for `channels`. */
  void (*weigh)(const float *activation, const float *gradient, int64_t positions, int64_t channels, double *weights,
                double *sums);
} mt_cam_method;

/* Every method; a NULL name ends the table. */
extern const mt_cam_method mt_cam_methods[];

typedef struct {
  const char *layer;        /* dotted name; its output must be {N,h,w,C} */
  int64_t target;           /* class 1..k for all images; 0: `targets`, or each image's most probable class */
  const mt_tensor *targets; /* int32 {N}, 1..k; may be NULL */
  int64_t batch;            /* images run at once; 0: as many as fit the processor's cache */
} mt_cam_options;

/* One method's heatmaps float32 {N,h,w} >= 0 from what a layer gave and the gradients there, both {N,h,w,C}. */
mt_tensor *mt_cam_heat(const mt_cam_method *method, const mt_tensor *activation, const mt_tensor *gradient);

/* images: float32 in [0,1] or uint8, {N,H,W,C}. Fills *heat, float32 {N,h,w} >= 0 (NaN where the net gives NaN), and
 * *predicted, int32 {N}: the most probable classes (the first of equals). */
int mt_cam(const mt_cam_method *method, mt_module *model, const mt_tensor *images, const mt_cam_options *options,
           mt_tensor **heat, mt_tensor **predicted);

#endif
