/* The first principal component of an image's pixels, each a vector of C channels (EigenCAM: Muhammad and Yeasin 2020).
 */
#ifndef MT_EXPLAIN_PRINCIPAL_H
#define MT_EXPLAIN_PRINCIPAL_H

#include "core/tensor.h"

/* values: float32 {N,h,w,C}. Returns {N,h,w}: each image's pixels, less their mean, times the direction of their
 * largest variance. Its sign is free; it is chosen so that the value farthest from zero is positive (Chung and Ying
 * 2025, eq. 13; of equals the first). NaN counts as 0. Infinity is an error that names the image. */
mt_tensor *mt_principal_projection(const mt_tensor *values);

#endif
