/* Random transforms of the images of a batch (image/transform.h says what each does to an image).
 *
 * What happens to an image follows from (seed, epoch, its position in the data set, the step's place in the list) and
 * nothing else: not from the batch it is in, the order of the images or the number of threads. */
#ifndef MT_IMAGE_AUGMENT_H
#define MT_IMAGE_AUGMENT_H

#include "image/transform.h"

#define MT_AUGMENT_MAX_STEPS 16

typedef struct {
  double low, high;
} mt_range;

/* The parameters of a transform as ranges to draw from, uniformly where nothing else is said. */
typedef struct {
  mt_transform_kind kind;
  union {
    struct {
      double probability;
    } flip;
    struct {
      mt_range angle;  /* degrees */
      double shift[2]; /* shares of height and width, drawn from -share to share and rounded to whole pixels */
      bool bilinear;
    } affine;
    struct {
      int64_t height, width; /* 0: as the image is */
      int64_t padding[2];    /* rows above and below, columns at each side, of zeros */
    } crop;
    struct {
      int64_t height, width; /* 0: as the image is */
      mt_range area;         /* of the box, as a share of the image */
      mt_range ratio;        /* width / height, drawn uniformly on a logarithmic scale */
    } resized_crop;
    struct {
      mt_range amount[MT_COLOR_COUNT]; /* low == high: not made; those that are come in random order */
    } color;
    struct {
      int64_t channels;
      const float *mean, *std;
    } normalize; /* the same for every image */
  };
} mt_augmentation;

typedef struct {
  uint64_t seed, epoch;
} mt_augment_key;

/* The first four are given; mt_augment_prepare checks the steps against the size and fills in the rest. */
typedef struct {
  mt_augment_key key;
  const mt_augmentation *steps;
  int count;
  mt_image_size size;
  mt_image_size result;
  size_t image_bytes, scratch_bytes; /* of the largest image on the way, and of the step that needs most */
  size_t work_bytes;                 /* of the memory that mt_augment_image works in */
} mt_augment_plan;

int mt_augment_prepare(mt_augment_plan *plan);
/* One image; `work` is aligned to 64. */
void mt_augment_image(const mt_augment_plan *plan, const float *from, int32_t index, char *work, float *to);

/* images: float32 {B,H,W,C}; indices: int32 {B}, the images' positions in the data set. Returns the images after all
 * steps, in the list's order. */
mt_tensor *mt_augment(const mt_tensor *images, const mt_tensor *indices, mt_augment_key key,
                      const mt_augmentation *steps, int count);

#endif
