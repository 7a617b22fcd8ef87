/* Functions of one tensor, element by element; any shape, also empty. neg, abs, relu and clamp keep the type, except
 * that neg of uint8 gives int32; the others give float32 (integers are converted first). float32 results are
 * differentiable. NaN stays NaN. */
#ifndef MT_OPS_ELEMENTWISE_H
#define MT_OPS_ELEMENTWISE_H

#include "core/tensor.h"

mt_tensor *mt_neg(mt_tensor *t);
mt_tensor *mt_exp(mt_tensor *t);
mt_tensor *mt_log(mt_tensor *t);
mt_tensor *mt_sqrt(mt_tensor *t);
mt_tensor *mt_expm1(mt_tensor *t); /* exp(x) - 1, exact near 0 */
mt_tensor *mt_log1p(mt_tensor *t); /* log(1 + x), exact near 0 */
mt_tensor *mt_sin(mt_tensor *t);
mt_tensor *mt_cos(mt_tensor *t);
mt_tensor *mt_erf(mt_tensor *t);
mt_tensor *mt_abs(mt_tensor *t);
/* max(0, x); the gradient at 0 is 0. */
mt_tensor *mt_relu(mt_tensor *t);
/* min(max(x, low), high), either end may be infinite; the gradient passes where low < x < high. */
mt_tensor *mt_clamp(mt_tensor *t, double low, double high);
mt_tensor *mt_pow(mt_tensor *t, double exponent);

#endif
