/* Clipping gradients in place, before a step. Frozen parameters and those without a gradient are left out. */
#ifndef MT_OPTIM_CLIP_H
#define MT_OPTIM_CLIP_H

#include "core/tensor.h"

/* The norm of all gradients taken as one vector: norm_type p > 0 of (sum |g|^p)^(1/p), or INFINITY: the largest |g|.
 * Gathered in double precision in pieces that the sizes alone fix, so the number of threads plays no part. -1 with an
 * error when memory runs out. */
int mt_grad_norm(mt_tensor *const *params, int count, double norm_type, double *norm);
/* The first parameter (0-based) whose gradient holds a NaN or an infinity; -1: none. */
int mt_first_nonfinite_grad(mt_tensor *const *params, int count);
/* Multiplies every gradient by max_norm / (norm + 1e-6) where that is less than 1, or NaN. */
void mt_scale_grads(mt_tensor *const *params, int count, double max_norm, double norm);
/* Brings every value into [-limit, limit]; NaN stays. */
void mt_clip_grad_value(mt_tensor *const *params, int count, double limit);

#endif
