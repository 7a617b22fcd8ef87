/* Netpbm's files: PBM, PGM and PPM, as text (P1, P2, P3) and binary (P4, P5, P6). */
#ifndef MT_IMAGE_PNM_H
#define MT_IMAGE_PNM_H

#include <stddef.h>

#include "core/tensor.h"

bool mt_is_pnm(const void *data, size_t size);

/* uint8 {H,W,C}. channels 0: 1 for PBM and PGM, 3 for PPM; 1, 3, 4: converted as PNG files are (image/png.h). Values 0
 * to MAXVAL, up to 65535, become 0 to 255 rounded to the nearest (the even one of two), as in Pillow.
 *
 * The first image of a file; missing pixels are an error that says how many rows they are in. `name` stands for the
 * data in messages. */
mt_tensor *mt_pnm_decode(const void *data, size_t size, int channels, const char *name);

#endif
