/* What a loader wants to know of images before a net sees them. */
#ifndef MT_IMAGE_VALUES_H
#define MT_IMAGE_VALUES_H

#include "core/tensor.h"

/* The first place (from 0) on the first axis with a NaN or an infinity; -1 where there is none. images: {N,...}. */
int64_t mt_first_bad(const mt_tensor *images);

/* The smallest and the largest value of a float32 or uint8 tensor, NaN passed over. false where there is no value. */
bool mt_value_range(const mt_tensor *images, float range[2]);

#endif
