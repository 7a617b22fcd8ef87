/* Resizing that averages where it shrinks (PyTorch's and Pillow's antialiased bilinear).
 *
 * Along an axis of `in` pixels made `out`, s = in/out and r = max(s, 1): output pixel i is the weighted mean of the
 * pixels k whose centres lie within r of c = (i + 0.5) s, with weights proportional to 1 - |k + 0.5 - c| / r. */
#ifndef MT_IMAGE_RESAMPLE_H
#define MT_IMAGE_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
  int64_t height, width; /* of the result, and of the box of the source that it shows */
  int64_t box_height, box_width;
  int64_t stride; /* values from one row of the source to the next */
  int64_t channels;
} mt_resample_shape;

/* Bytes of scratch memory, aligned to 8, that a resampling needs. Grows with the larger of box and result. */
size_t mt_resample_scratch(const mt_resample_shape *shape);

/* `from` points to the box's first pixel, the result is dense; uint8 is rounded to the nearest. */
void mt_resample_f32(const float *from, const mt_resample_shape *shape, float *to, void *scratch);
void mt_resample_u8(const uint8_t *from, const mt_resample_shape *shape, uint8_t *to, void *scratch);

#endif
