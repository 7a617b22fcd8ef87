/* JPEG files through libjpeg. */
#ifndef MT_IMAGE_JPEG_H
#define MT_IMAGE_JPEG_H

#include <stddef.h>

#include "core/tensor.h"

bool mt_is_jpeg(const void *data, size_t size);

/* uint8 {H,W,C}, upright (EXIF). channels 0: 1 where the file is gray, else 3; 1, 3, 4: converted as PNG files are
 * (image/png.h). CMYK and YCCK become RGB as if printed without colour management, ink stored as Adobe's programs do.
 *
 * min_size {height,width}, {0,0} for the whole: decoded at 1/2, 1/4 or 1/8 of the size in each direction, the smallest
 * whose upright image is not below min_size: much less work, and nothing is lost that a later resizing to min_size
 * would keep.
 *
 * Missing pixels are an error that says how many rows they are in; a file that lacks only its end is read. Damaged data
 * is an error, unless only bytes between the segments are too many, which some cameras write. So is a file whose
 * claimed size its bytes cannot hold, and one with over 2^28 pixels or 200 scans. `name` stands for the data in
 * messages. */
mt_tensor *mt_jpeg_decode(const void *data, size_t size, int channels, const int64_t min_size[2], const char *name);

/* image: as mt_png_write takes it (image/png.h), with 1 or 3 channels and at most 65500 pixels a side. quality 1 to
 * 100. Replaces the file as a whole (io/atomic_file.h). */
int mt_jpeg_write(const char *path, const mt_tensor *image, int quality);

#endif
