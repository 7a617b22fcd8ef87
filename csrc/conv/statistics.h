/* Batch normalisation's numbers, for each channel: what the batch's moments come to, what evaluation takes instead, the
 * same folded into a convolution's weights, and the factors of the way back. With P values z of a channel,
 * x^ = (z - mean) invstd, and g the gradient behind the ReLU:
 *
 *   y = relu(z scale + shift + residual),   scale = gamma invstd,   shift = beta - mean scale,
 *   grad_beta = sum g,   grad_gamma = invstd sum g (z - mean),
 *   grad_z = scale (g - sum g / P - x^ sum(g x^) / P) = g scale + ((z - mean) slope + offset)     (evaluation: g scale)
 *
 * Everything is worked out in double and rounded once. */
#ifndef MT_CONV_STATISTICS_H
#define MT_CONV_STATISTICS_H

#include "core/tensor.h"

/* One normalisation layer's parameters and buffers, all (C). */
typedef struct {
  mt_tensor *gamma, *beta; /* weight and bias */
  mt_tensor *running_mean, *running_var;
  float momentum, eps;
} mt_norm;

/* A layer's statistics row by row: (MT_STAT_ROWS, C). */
enum { MT_STAT_MEAN, MT_STAT_INVSTD, MT_STAT_SCALE, MT_STAT_SHIFT, MT_STAT_ROWS };

/* Moments of equal runs of pixels, one after the other; the last may be shorter. (runs, 2, C): means, then sums of
 * squared distances from them, as the kernel norm_moments writes them. */
typedef struct {
  const float *values;
  int64_t run, pixels; /* pixels of a run, and in all */
} mt_moments;

/* Training: the batch's statistics from its moments; moves the running ones. Needs more than one pixel. Returns -1
 * where there is no memory, and then nothing has moved. Where the batch is dealt over processes (core/batch.h), the
 * statistics are those of all its parts. */
int mt_batch_statistics(const mt_norm *n, const mt_moments *moments, float *statistics);

/* Evaluation: the statistics from the running ones. */
void mt_running_statistics(const mt_norm *n, float *statistics);

/* A convolution's weights (rows, C) and bias (C, or NULL: none) with evaluation's normalisation in them. Runs on all
 * threads. */
void mt_fold(const mt_norm *n, const float *weight, int64_t rows, const float *bias, float *folded, float *folded_bias);

/* sums (2, C): of g, and of g (z - mean), over `values` pixels. factors (2, C): slope, offset. Where the batch is dealt
 * over processes, the sums are then those over all of them: the parameters' gradients, which are a process's own, come
 * first. -1 on an error. */
int mt_norm_factors(const float *statistics, int64_t channels, double *sums, int64_t values, float *factors);
/* The parameters' gradients, each (C) or NULL. */
void mt_norm_grads(const float *statistics, int64_t channels, const double *sums, mt_tensor *grad_gamma,
                   mt_tensor *grad_beta);

#endif
