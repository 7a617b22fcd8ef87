/* Pixels from one form to another: channels, uint8 and float32, batches for a net. */
#ifndef MT_IMAGE_PIXELS_H
#define MT_IMAGE_PIXELS_H

#include "core/tensor.h"

/* The most an image file may show. */
#define MT_MAX_PIXELS ((int64_t)1 << 28)

/* Refuses a file that claims more pixels than that, or more than can be in its `size` bytes: `least` are needed. */
int mt_check_claim(const char *format, const char *name, int64_t height, int64_t width, uint64_t least, size_t size);

/* uint8 {H,W,C} with C 1, 3 or 4 to `channels` 1, 3 or 4. Gray is 0.299 R + 0.587 G + 0.114 B rounded; alpha is
 * dropped, or 255. */
mt_tensor *mt_convert_channels(const mt_tensor *image, int channels);

/* The same in place of `image`, whose reference it takes; NULL stays NULL. channels 0: as it is. */
mt_tensor *mt_with_channels(mt_tensor *image, int channels);

/* [0,1] to 0..255, rounded; values outside are clamped and NaN becomes 0. */
void mt_unit_to_bytes(const float *from, uint8_t *to, int64_t count);

/* uint8 of the same shape: float32 as above, uint8 as it is (a new reference). int32 is an error that names op. */
mt_tensor *mt_as_bytes(mt_tensor *images, const char *op);

/* {1,H,W,C} as {H,W,C}, other shapes of one image as they are; a new reference. A batch of several images is an error
 * that names op. */
mt_tensor *mt_single_image(const mt_tensor *image, const char *op);

/* uint8 {N,H,W,C} to float32 {B,H,W,C} in [0,1] (each value / 255): the images indices[0..B-1], counted from 1.
 * indices: int32 {B}. */
mt_tensor *mt_image_batch(const mt_tensor *images, const mt_tensor *indices);

/* The images first .. first+count-1 (from 0) as above; float32 images are passed on as they are. */
mt_tensor *mt_image_range(const mt_tensor *images, int64_t first, int64_t count);

#endif
