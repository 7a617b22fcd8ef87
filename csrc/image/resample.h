/* Resizing that averages where it shrinks (PyTorch's and Pillow's antialiased bilinear and bicubic).
 *
 * Along an axis of `in` pixels made `out`, s = in/out and r = max(s, 1): output pixel i is the weighted mean of the
 * pixels k near c = (i + 0.5) s, with weights proportional to w(|k + 0.5 - c| / r). Triangle (bilinear): w(x) = 1 - x
 * up to 1. Cubic (Keys 1981, a = -1/2): w(x) = (3/2 x - 5/2) x^2 + 1 up to 1, ((5/2 - x/2) x - 4) x + 2 up to 2. */
#ifndef MT_IMAGE_RESAMPLE_H
#define MT_IMAGE_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

typedef enum { MT_FILTER_TRIANGLE, MT_FILTER_CUBIC } mt_filter;

typedef struct {
  int64_t height, width; /* of the result, and of the box of the source that it shows */
  int64_t box_height, box_width;
  int64_t stride; /* values from one row of the source to the next */
  int64_t channels;
  mt_filter filter;
} mt_resample_shape;

/* Bytes of scratch memory, aligned to 8, that a resampling needs. Grows with the larger of box and result. */
size_t mt_resample_scratch(const mt_resample_shape *shape);

/* `from` points to the box's first pixel, the result is dense; uint8 is rounded to the nearest, and with the cubic
 * filter, which can leave 0..255, clamped: also between the two axes, of which the width comes first, as in torchvision
 * and older Pillows (newer ones begin with the axis that makes less work). */
void mt_resample_f32(const float *from, const mt_resample_shape *shape, float *to, void *scratch);
void mt_resample_u8(const uint8_t *from, const mt_resample_shape *shape, uint8_t *to, void *scratch);

#endif
