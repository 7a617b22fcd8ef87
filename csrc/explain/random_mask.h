/* Masks at random places: the RandMask baseline. Both kinds draw image after image from one generator. */
#ifndef MT_EXPLAIN_RANDOM_MASK_H
#define MT_EXPLAIN_RANDOM_MASK_H

#include "core/random.h"
#include "core/tensor.h"

/* uint8 {n,height,width}, 1 = keep: one square hole an image, its centre uniform over the pixels and its side uniform
 * in min..max, cut off at the border. Side s around row y covers rows y - floor(s/2) .. y - floor(s/2) + s - 1. */
mt_tensor *mt_random_squares(int64_t n, const int64_t size[2], int64_t min_side, int64_t max_side, mt_rng *rng);

/* A random mask with as many masked pixels in each image as keep, uint8 {N,H,W}, has there: the nearest thing to a
 * square of that area (ceil(sqrt(area)) wide, its last row only as long as needed; narrower or wider where the image
 * is), at a position uniform among those where it lies inside. */
mt_tensor *mt_random_same_area(const mt_tensor *keep, mt_rng *rng);

#endif
