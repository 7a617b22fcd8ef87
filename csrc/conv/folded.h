/* A convolution as evaluation runs it: with the normalisation behind it in its weights, which are prepared for the
 * kernels (conv/packing.h). Folding and preparing cost as much as a few images do, so whoever evaluates few at a time
 * keeps this from one call to the next. It is never stale: it knows the versions (core/tensor.h) of all that it was
 * made from. */
#ifndef MT_CONV_FOLDED_H
#define MT_CONV_FOLDED_H

#include "conv/packing.h"
#include "conv/statistics.h"

enum { MT_FOLDED_SOURCES = 6 };

typedef struct {
  float *weights, *bias; /* prepared weights; bias (out_c). NULL: nothing is here */
  mt_conv conv;
  float eps;
  struct {
    const void *data;
    uint64_t version;
  } sources[MT_FOLDED_SOURCES];
} mt_folded; /* zeros: empty */

/* Whether it is what mt_folded_make would make. */
bool mt_folded_holds(const mt_folded *f, const mt_conv *conv, const mt_tensor *weight, const mt_tensor *bias,
                     const mt_norm *norm);
/* Makes it, in place of what was there. bias: the convolution's own, or NULL. Runs on all threads. -1: no memory, and
 * it is empty. */
int mt_folded_make(mt_folded *f, const mt_conv *conv, const mt_tensor *weight, const mt_tensor *bias,
                   const mt_norm *norm);
/* Empties it. */
void mt_folded_clear(mt_folded *f);

#endif
