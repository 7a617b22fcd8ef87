/* The four changes of colour jitter, on one image with 1 or 3 channels in [0,1], as torchvision makes them. */
#ifndef MT_IMAGE_COLOR_H
#define MT_IMAGE_COLOR_H

#include "image/transform.h"

/* In place. Brightness mixes with black, contrast with the mean gray, saturation with each pixel's gray (gray is
 * 0.2989 R + 0.587 G + 0.114 B); amount 0 is all of that, 1 the image, more goes beyond it. Hue turns the colours by
 * that share of the circle. Saturation and hue leave images with one channel alone. */
void mt_change_color(float *image, int64_t pixels, int64_t channels, mt_color_change change, float amount);

#endif
