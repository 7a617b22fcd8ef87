/* Grey images turned into colour, some of them marked with a colour: the shortcut in biased MNIST. */
#ifndef MT_IMAGE_PAINT_H
#define MT_IMAGE_PAINT_H

#include "core/tensor.h"

typedef enum {
  MT_PAINT_SQUARES,    /* squares in the top-left and, for two, in the top-right corner */
  MT_PAINT_BACKGROUND, /* every pixel that is 0 */
  MT_PAINT_FOREGROUND  /* every pixel that is not 0 */
} mt_paint_kind;

typedef struct {
  mt_paint_kind kind;
  int squares;  /* 1 or 2 */
  int64_t size; /* side of a square in pixels, at most the image's smaller side */
  uint8_t color[3];
} mt_paint;

/* gray: uint8 {N,H,W,1}; marked: uint8 {N}, non-zero where `paint` is applied. Returns uint8 {N,H,W,3}; unpainted
 * pixels repeat the grey value. */
mt_tensor *mt_paint_images(const mt_tensor *gray, const mt_tensor *marked, const mt_paint *paint);

#endif
