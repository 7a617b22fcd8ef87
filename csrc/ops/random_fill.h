/* Random numbers in a float32 tensor, in place. The generator may be NULL: the default one. */
#ifndef MT_OPS_RANDOM_FILL_H
#define MT_OPS_RANDOM_FILL_H

#include "core/random.h"
#include "core/tensor.h"

void mt_fill_uniform(mt_tensor *t, mt_rng *rng, float low, float high);
void mt_fill_normal(mt_tensor *t, mt_rng *rng, float mean, float std);

#endif
