/* Activation functions besides relu (ops/elementwise.h), as PyTorch defines them. Any shape; float32 (integers are
 * converted first), differentiable. */
#ifndef MT_OPS_ACTIVATION_H
#define MT_OPS_ACTIVATION_H

#include "core/tensor.h"

mt_tensor *mt_sigmoid(mt_tensor *t);
mt_tensor *mt_tanh(mt_tensor *t);
/* x times the normal distribution's share below x (Hendrycks and Gimpel 2016), or its approximation by tanh. */
mt_tensor *mt_gelu(mt_tensor *t, bool by_tanh);
/* x sigmoid(x) (Elfwing et al. 2017; also called swish). */
mt_tensor *mt_silu(mt_tensor *t);
/* log(1 + exp(beta x)) / beta; x itself where beta x > threshold. beta > 0. */
mt_tensor *mt_softplus(mt_tensor *t, double beta, double threshold);
/* x where it is positive, else slope x, with that gradient at 0 too. */
mt_tensor *mt_leaky_relu(mt_tensor *t, double slope);
/* min(max(0, x), 6); the gradient is 0 at both ends. */
mt_tensor *mt_relu6(mt_tensor *t);

#endif
