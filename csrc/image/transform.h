/* Geometric and colour transforms with given parameters, as torchvision's functional ones do them.
 *
 * Images are float32 {N,H,W,C}, colours in [0,1] where it says so. Nothing here is random (that is image/augment.h)
 * and nothing is recorded for gradients. */
#ifndef MT_IMAGE_TRANSFORM_H
#define MT_IMAGE_TRANSFORM_H

#include "core/tensor.h"

#define MT_TRANSFORM_MAX_SIDE ((int64_t)1 << 16)

typedef enum {
  MT_TRANSFORM_FLIP,         /* left and right exchanged */
  MT_TRANSFORM_AFFINE,       /* turned about the centre, then shifted; what comes from outside is 0 */
  MT_TRANSFORM_CROP,         /* the box, which may reach beyond the image; what is outside is 0 */
  MT_TRANSFORM_RESIZED_CROP, /* the box, which lies in the image, at another size (image/resample.h) */
  MT_TRANSFORM_COLOR,        /* brightness, contrast, saturation, hue; of {.,.,.,1|3} in [0,1], which it stays */
  MT_TRANSFORM_NORMALIZE     /* (value - mean) / std of each channel */
} mt_transform_kind;

typedef enum { MT_BRIGHTNESS, MT_CONTRAST, MT_SATURATION, MT_HUE, MT_COLOR_COUNT } mt_color_change;

typedef struct {
  int64_t top, left, height, width;
} mt_box;

typedef struct {
  mt_transform_kind kind;
  union {
    struct {
      double angle;    /* degrees, clockwise */
      double shift[2]; /* pixels down, pixels to the right */
      bool bilinear;   /* between pixels; else the nearest one */
    } affine;
    struct {
      mt_box box;
      int64_t height, width; /* of the result; crop: the box's */
    } crop;
    struct {
      int count;
      mt_color_change order[MT_COLOR_COUNT];
      float amount[MT_COLOR_COUNT]; /* by kind: a factor, 1 changes nothing; hue: -0.5 to 0.5 of the circle */
    } color;
    struct {
      const float *mean, *std; /* one per channel */
    } normalize;
  };
} mt_transform;

typedef struct {
  int64_t height, width, channels;
} mt_image_size;

/* The size of an image after the transform. */
mt_image_size mt_transform_size(const mt_transform *transform, mt_image_size size);
/* Bytes, aligned to 8, of the scratch memory for one image. */
size_t mt_transform_scratch(const mt_transform *transform, mt_image_size size);
/* One image; `from` and `to` do not overlap. The parameters are valid for the size. */
void mt_transform_apply(const mt_transform *transform, const float *from, mt_image_size size, float *to, void *scratch);

/* All images, after a check of the parameters; messages begin with `op`. */
mt_tensor *mt_transform_images(const char *op, const mt_tensor *images, const mt_transform *transform);

#endif
