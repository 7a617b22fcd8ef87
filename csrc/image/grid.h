/* Many images in one. */
#ifndef MT_IMAGE_GRID_H
#define MT_IMAGE_GRID_H

#include "core/tensor.h"

typedef struct {
  int64_t columns; /* at most; fewer where there are fewer images */
  int64_t padding; /* pixels around and between images */
  int64_t scale;   /* the side of the square that a pixel becomes, 1 to MT_DRAW_MAX_SCALE */
  uint8_t background[3];
} mt_grid_layout;

/* images: {N,H,W,C} with N at least 1 and C 1 or 3; uint8, or float32 in [0,1] (clamped, rounded). Row by row, as
 * torchvision's make_grid lays them out: uint8 {H,W,3}. */
mt_tensor *mt_image_grid(mt_tensor *images, const mt_grid_layout *layout);

#endif
