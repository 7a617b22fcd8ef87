/* WebP files through libwebp, where the build found it. */
#ifndef MT_IMAGE_WEBP_H
#define MT_IMAGE_WEBP_H

#include <stddef.h>

#include "core/tensor.h"

#ifdef MT_WITH_WEBP
/* uint8 {H,W,C}, upright (EXIF). channels 0: 4 where the file has transparency, else 3; 1, 3, 4: converted as PNG files
 * are (image/png.h). Animations and damaged or truncated files are errors. `name` stands for the data in messages. */
mt_tensor *mt_webp_decode(const void *data, size_t size, int channels, const char *name);
#define MT_WEBP_DECODER mt_webp_decode
#define MT_WEBP_LISTED ", WebP"
#else
#define MT_WEBP_DECODER NULL
#define MT_WEBP_LISTED ""
#endif

#endif
