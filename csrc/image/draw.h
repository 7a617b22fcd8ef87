/* Drawing for figures, into a canvas: uint8 {H,W,3}.
 *
 * Pixels are counted from 0: (0,0) is the top-left one, x goes right and y down. What lies outside the canvas is cut
 * off. */
#ifndef MT_IMAGE_DRAW_H
#define MT_IMAGE_DRAW_H

#include "core/tensor.h"

/* Coordinates and sizes stay within +-MT_DRAW_LIMIT, so that sums of them cannot overflow. */
#define MT_DRAW_LIMIT ((int64_t)1 << 30)
#define MT_DRAW_MAX_SCALE 64

int mt_fill_rect(mt_tensor *canvas, int64_t x, int64_t y, int64_t width, int64_t height, const uint8_t color[3]);
/* One pixel wide (thickness 1) or a square pen of that side, centred on the line; both ends included. */
int mt_draw_line(mt_tensor *canvas, int64_t x0, int64_t y0, int64_t x1, int64_t y1, int64_t thickness,
                 const uint8_t color[3]);
/* image: uint8 {H,W}, {H,W,1} or {H,W,3}, each pixel a square of side `scale`. */
int mt_paste(mt_tensor *canvas, const mt_tensor *image, int64_t x, int64_t y, int64_t scale);

#endif
