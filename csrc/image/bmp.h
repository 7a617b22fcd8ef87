/* BMP files: Windows' and OS/2's bitmaps, as far as Pillow reads them. */
#ifndef MT_IMAGE_BMP_H
#define MT_IMAGE_BMP_H

#include <stddef.h>

#include "core/tensor.h"

bool mt_is_bmp(const void *data, size_t size);

/* uint8 {H,W,C}. 1, 4 and 8 bits with a palette, run-length encoded or not, 16, 24 and 32 bits. channels 0: 1 where the
 * palette is gray, 4 where masks name alpha, else 3; 1, 3, 4: converted as PNG files are (image/png.h). What a
 * run-length encoded file leaves unpainted has the palette's first colour.
 *
 * Missing pixels are an error that says how many rows they are in; so is a pixel outside of the palette, and what
 * mt_check_claim refuses. `name` stands for the data in messages. */
mt_tensor *mt_bmp_decode(const void *data, size_t size, int channels, const char *name);

#endif
