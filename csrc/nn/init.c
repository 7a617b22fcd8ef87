/* Initial values of parameters. */
#include <math.h>

#include "nn/layers.h"
#include "ops/random_fill.h"

mt_tensor *mt_init_fan_in(mt_tensor *t, int64_t fan_in) {
  if (!t) return NULL;
  const float bound = fan_in > 0 ? (float)(1.0 / sqrt((double)fan_in)) : 0.0f;
  mt_fill_uniform(t, NULL, -bound, bound);
  return t;
}
