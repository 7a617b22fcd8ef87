/* Heatmaps as colours. */
#ifndef MT_IMAGE_COLORMAP_H
#define MT_IMAGE_COLORMAP_H

#include "core/tensor.h"

typedef enum { MT_COLORMAP_VIRIDIS, MT_COLORMAP_TURBO, MT_COLORMAP_GRAY } mt_colormap;

/* The colour of a value in [0,1]; values outside are clamped, NaN is black. */
void mt_colormap_at(mt_colormap map, float value, uint8_t rgb[3]);

/* heat: float32 {H,W} or {N,H,W}. The values from low to high run through the map; where range is NULL, from each
 * image's own smallest to its largest finite value (all alike: the map's start). Returns uint8 {H,W,3} or {N,H,W,3}. */
mt_tensor *mt_colorize(const mt_tensor *heat, mt_colormap map, const float range[2]);

/* Colours of `heat`, resized bilinearly to the image, mixed into it: alpha * colour + (1 - alpha) * image.
 * image: {H,W,1|3} or {N,H,W,1|3}, uint8, or float32 in [0,1]; heat with as many images. Returns uint8 with 3
 * channels. */
mt_tensor *mt_overlay(mt_tensor *image, const mt_tensor *heat, float alpha, mt_colormap map, const float range[2]);

#endif
