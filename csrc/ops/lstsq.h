/* Linear least squares of minimum norm, by LAPACK. */
#ifndef MT_OPS_LSTSQ_H
#define MT_OPS_LSTSQ_H

#include "core/tensor.h"

/* Of all x (N,K) that make |a x - b| smallest, the one of the smallest norm, column by column: a (M,N), b (M,K), or
 * vectors (M) and (N). Singular values of at most rcond times the largest one count as zero. No gradient. */
mt_tensor *mt_lstsq(const mt_tensor *a, const mt_tensor *b, double rcond);

#endif
