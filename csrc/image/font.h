/* A bitmap font for figures: the printable ASCII characters, 5 pixels wide and 9 high (7 above the baseline). */
#ifndef MT_IMAGE_FONT_H
#define MT_IMAGE_FONT_H

#include <stdbool.h>

#define MT_FONT_WIDTH 5
#define MT_FONT_HEIGHT 9
#define MT_FONT_ADVANCE 6      /* from one character to the next */
#define MT_FONT_LINE_HEIGHT 11 /* from one line to the next */

/* Whether the character has ink at column x and row y; other characters than ASCII's show a box. */
bool mt_font_ink(unsigned char character, int x, int y);

#endif
