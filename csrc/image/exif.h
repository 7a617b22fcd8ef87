/* Which way up a photograph is: the orientation that cameras write into EXIF data. */
#ifndef MT_IMAGE_EXIF_H
#define MT_IMAGE_EXIF_H

#include "core/tensor.h"

/* data: the contents of a JPEG file's APP1 segment. 1 to 8, the value of tag 0x0112 of the first directory; 1 (as
 * stored) where there is none, or the data is no EXIF: it never makes an image unreadable. */
int mt_exif_orientation(const uint8_t *data, size_t size);

/* Whether rows of the stored image are columns of the upright one. */
static inline bool mt_orientation_swaps(int orientation) { return orientation >= 5; }

/* The upright image. image: uint8 {H,W,C}; orientation 2 to 8. */
mt_tensor *mt_image_upright(const mt_tensor *image, int orientation);

#endif
