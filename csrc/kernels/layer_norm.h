/* Normalisation of a row of n numbers by its mean and the reciprocal of its deviation; weight and bias may be NULL. */
#ifndef MT_KERNELS_LAYER_NORM_H
#define MT_KERNELS_LAYER_NORM_H

#include <stdint.h>

/* layer_norm_sums adds dy (x - mean) rstd to products and dy to sums, element by element, for rows that are `step`
 * apart: at most MT_LAYER_NORM_ROWS, which are added in single precision first. */
#define MT_LAYER_NORM_ROWS 4
#define MT_LAYER_NORM_KERNELS(K)                                                                           \
  K(void, layer_norm,                                                                                      \
    (float *y, const float *x, const float *weight, const float *bias, int64_t n, float mean, float rstd)) \
  K(void, layer_norm_backward,                                                                             \
    (float *dx, const float *x, const float *dy, const float *weight, int64_t n, float mean, float rstd))  \
  K(void, layer_norm_sums,                                                                                 \
    (double *products, double *sums, const float *x, const float *dy, int rows, int64_t step, int64_t n,   \
     const float *mean, const float *rstd))

#endif
