/* Sheets to draw on through Cairo, where the build found it: pixels, or a page of PDF.
 *
 * The origin is the top-left corner, x goes right and y down, in units of the sheet's own. A path is made first, then
 * stroked, filled or clipped with, which uses it up. Colours are 0xRRGGBB. */
#ifndef MT_DRAW_SHEET_H
#define MT_DRAW_SHEET_H

#include <stdbool.h>
#include <stdint.h>

#include "core/tensor.h"
#include "io/bytes.h"

#ifdef MT_WITH_CAIRO
typedef struct mt_sheet mt_sheet;

/* White. `scale`: pixels (of a PDF: points) to the unit. */
mt_sheet *mt_sheet_new(double width, double height, double scale, bool as_pdf);
void mt_sheet_free(mt_sheet *sheet);

void mt_sheet_move(mt_sheet *sheet, double x, double y);
void mt_sheet_line(mt_sheet *sheet, double x, double y);
void mt_sheet_rectangle(mt_sheet *sheet, double x, double y, double width, double height);
void mt_sheet_circle(mt_sheet *sheet, double x, double y, double radius);

/* With round ends and corners; dash 0: a whole line. */
int mt_sheet_stroke(mt_sheet *sheet, uint32_t color, double width, double dash, double gap);
int mt_sheet_fill(mt_sheet *sheet, uint32_t color, double alpha);
/* Nothing is drawn outside of the path until mt_sheet_unclip. */
int mt_sheet_clip(mt_sheet *sheet);
int mt_sheet_unclip(mt_sheet *sheet);

typedef struct {
  double size, anchor; /* anchor: the share of the text that lies before (x, y), 0 to 1 */
  uint32_t color;
  bool upwards, bold;
} mt_text_style;

/* A line of UTF-8 text on its baseline. */
int mt_sheet_text(mt_sheet *sheet, double x, double y, const char *text, const mt_text_style *style);
/* An image, uint8 {H,W,1 or 3}, as a box. Its pixels stay what they are, unsmoothed. */
int mt_sheet_image(mt_sheet *sheet, const mt_tensor *image, double x, double y, double width, double height);

/* What was drawn: uint8 {H,W,3}; of a PDF the file, after which nothing more can be drawn. */
mt_tensor *mt_sheet_pixels(mt_sheet *sheet);
int mt_sheet_pdf(mt_sheet *sheet, mt_bytes *bytes);
#endif

#endif
