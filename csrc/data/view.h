/* The images of a data set as they are looked at: some of a source's, in some order, masked; and such images added to
 * each other. A view does not change, and reads nothing until it is asked for an image. */
#ifndef MT_DATA_VIEW_H
#define MT_DATA_VIEW_H

#include "data/masks.h"
#include "data/source.h"

/* One source's share. Image i of the view is the source's at positions[i] (from 1; NULL: at i + 1), with what `masks`
 * hides set to 0, then each pixel times its share in `dim`; both have a row for each image of the view, and may be
 * NULL. */
typedef struct {
  mt_source *source;
  mt_tensor *positions; /* int32 {N} */
  mt_masks *masks;
  mt_tensor *dim; /* float32 {N,H,W} */
} mt_view_part;

typedef struct mt_view mt_view;

/* The sum of the parts, of which 255 is the most. Copies the positions, and retains what else the parts name. */
mt_view *mt_view_new(const mt_view_part *parts, int count);
mt_view *mt_view_retain(mt_view *view);
void mt_view_release(mt_view *view); /* NULL is allowed */

/* {N,H,W,C} */
const int64_t *mt_view_shape(const mt_view *view);
/* Whether all of it is in memory. */
bool mt_view_is_in_memory(const mt_view *view);

/* Image i, from 0, in `image`, uint8 {H,W,C}. Any thread may call it; `work` has mt_view_work_bytes. */
size_t mt_view_work_bytes(const mt_view *view);
int mt_view_image(const mt_view *view, int64_t i, uint8_t *image, uint8_t *work);

/* images: uint8 {B,H,W,C}, filled with those at positions[0..B-1], from 1. Where that fails, messages[i] (NULL before)
 * says why, for the caller to free(), and the image is black. -1 when memory ran out. */
int mt_view_read(const mt_view *view, const mt_tensor *positions, mt_tensor *images, char **messages);

#endif
