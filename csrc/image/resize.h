/* Resizing with PyTorch's conventions (interpolate with align_corners=false).
 *
 * Without antialiasing: along one axis of `in` pixels resized to `out`, output pixel i looks at position
 * (i + 0.5) in/out - 0.5, clamped at 0, between two neighbours (bilinear), or at pixel floor(i in/out) (nearest); all
 * in float32, as PyTorch rounds it. With it: image/resample.h. */
#ifndef MT_IMAGE_RESIZE_H
#define MT_IMAGE_RESIZE_H

#include "core/tensor.h"

typedef enum {
  MT_RESIZE_BILINEAR,
  MT_RESIZE_NEAREST,
  MT_RESIZE_ANTIALIASED_BILINEAR,
  MT_RESIZE_ANTIALIASED_BICUBIC
} mt_resize_mode;

/* images: float32 or uint8 (rounded; with antialiasing within 1 of what Pillow gives), with height and width on the
 * axes `axis` and `axis + 1` (from 0), at most one axis in front of them and one behind. Returns the same dtype with
 * those two of size {height, width}. */
mt_tensor *mt_resize(const mt_tensor *images, int axis, const int64_t size[2], mt_resize_mode mode);

/* ---- on plain pointers, for one plane or image ---- */

/* Where an output pixel looks along one axis: at `low` and `high`, with weight `fraction` on high. */
typedef struct {
  int64_t low, high;
  float fraction;
} mt_tap;

/* Fills taps[0..out-1], without antialiasing; for nearest, low is the pixel and fraction is 0. */
void mt_resize_taps(mt_tap *taps, int64_t in, int64_t out, mt_resize_mode mode);
/* Bilinear: from {.,in_width} to {out_height,out_width} with the taps of both axes. */
void mt_resize_plane(const float *from, int64_t in_width, const mt_tap *rows, int64_t out_height, const mt_tap *columns,
                     int64_t out_width, float *to);

#endif
