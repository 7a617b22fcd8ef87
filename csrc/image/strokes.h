/* Pen strokes drawn as smooth grey images: the synthetic digits. */
#ifndef MT_IMAGE_STROKES_H
#define MT_IMAGE_STROKES_H

#include "core/tensor.h"

/* segments: float32 {S,5}, rows of x0, y0, x1, y1, radius in pixels (the centre of the top-left pixel is 0,0).
 * starts: int32 {N+1}, ascending from 0 to S; image n is drawn from the segments starts[n] .. starts[n+1]-1.
 * Returns uint8 {N,height,width,1}: 255 within radius of a segment, falling to 0 over one pixel. */
mt_tensor *mt_draw_strokes(const mt_tensor *segments, const mt_tensor *starts, int64_t height, int64_t width);

#endif
