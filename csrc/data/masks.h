/* Masks of one bit a pixel: which pixels of an image are kept. In memory, or in a file (io/row_file.h).
 *
 * A row is the mask of an image: its pixels from left to right and top to bottom, eight in a byte, the first in the
 * highest bit (numpy.unpackbits), 1 = keep; what is left of the last byte is 0. Masks do not change. */
#ifndef MT_DATA_MASKS_H
#define MT_DATA_MASKS_H

#include "core/tensor.h"
#include "io/row_file.h"

typedef struct mt_masks mt_masks;

/* The bytes of a row. */
size_t mt_mask_row_bytes(int64_t height, int64_t width);
/* One mask, of bytes (0 masks, anything else keeps), as bits. */
void mt_mask_pack_row(const uint8_t *keep, int64_t pixels, uint8_t *bits);
/* The masked pixels of an image become 0. */
void mt_mask_hide(const uint8_t *bits, int64_t pixels, int64_t channels, uint8_t *image);

/* keep: uint8 {N,H,W}. The rows: uint8 {N, row bytes}. */
mt_tensor *mt_masks_pack(const mt_tensor *keep);
/* Retains the bits, which must not change. */
mt_masks *mt_masks_of_bits(mt_tensor *bits, int64_t height, int64_t width);
/* A whole file of such rows; takes a reference of its own. */
mt_masks *mt_masks_of_file(mt_row_file *file, int64_t height, int64_t width);
mt_masks *mt_masks_retain(mt_masks *masks);
void mt_masks_release(mt_masks *masks); /* NULL is allowed */

/* {N,H,W} */
void mt_masks_shape(const mt_masks *masks, int64_t shape[3]);

/* The bits of mask i, from 0. */
int mt_masks_row(const mt_masks *masks, int64_t i, uint8_t *bits);
/* The masks first .. first + count - 1 (from 0), as bytes 0 and 1: uint8 {count,H,W}. */
mt_tensor *mt_masks_unpack(const mt_masks *masks, int64_t first, int64_t count);
/* How many pixels each mask keeps: int32 {N}. */
mt_tensor *mt_masks_counts(const mt_masks *masks);

/* Some of the masks, over the same bits. positions: int32 {M}, from 1. */
mt_masks *mt_masks_index(mt_masks *masks, const mt_tensor *positions);
/* What both keep; what these do not keep. */
mt_masks *mt_masks_both(const mt_masks *a, const mt_masks *b);
mt_masks *mt_masks_complement(const mt_masks *masks);

#endif
