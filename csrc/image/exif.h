/* Which way up a photograph is: the orientation that cameras write into EXIF data. */
#ifndef MT_IMAGE_EXIF_H
#define MT_IMAGE_EXIF_H

#include "core/tensor.h"

/* data: TIFF data as PNG and WebP files hold it, with or without "Exif\0\0" in front, as in the APP1 segment of a JPEG
 * file. 1 to 8, the value of tag 0x0112 of the first directory; 1 (as
 * stored) where there is none, or the data is no EXIF: it never makes an image unreadable. */
int mt_exif_orientation(const uint8_t *data, size_t size);

/* Whether rows of the stored image are columns of the upright one. */
static inline bool mt_orientation_swaps(int orientation) { return orientation >= 5; }

/* The upright image in place of `image`, whose reference it takes; NULL stays NULL. image: uint8 {H,W,C}; orientation 1
 * to 8. */
mt_tensor *mt_turned_upright(mt_tensor *image, int orientation);

#endif
