/* PNG files through libpng. */
#ifndef MT_IMAGE_PNG_H
#define MT_IMAGE_PNG_H

#include <stddef.h>

#include "core/tensor.h"

/* uint8 {H,W,C}, upright (EXIF, as in JPEG files). channels 0: C as in the file, 1 (gray), 3 (RGB, palette) or 4 (any
 * of them with transparency). channels 1, 3, 4: converted; gray is 0.299 R + 0.587 G + 0.114 B rounded, alpha is
 * dropped or set to 255. Of 16-bit values the upper 8 bits are kept, as Pillow does for colours and torchvision for
 * all. Gamma and profiles change nothing.
 *
 * A file that is cut short after its last pixel is read; missing pixels are an error that says how many rows they are
 * in. Any other damage, up to the end of the file, is an error; so are images above 2^28 pixels. `name` stands for the
 * data in messages. */
mt_tensor *mt_png_decode(const void *data, size_t size, int channels, const char *name);

/* image: {H,W}, {H,W,C} or {1,H,W,C} with C 1, 3 or 4; uint8, or float32 in [0,1] (clamped, NaN becomes 0; rounded to
 * the nearest of the 256 values). Replaces the file as a whole (io/atomic_file.h). */
int mt_png_write(const char *path, const mt_tensor *image);

#endif
