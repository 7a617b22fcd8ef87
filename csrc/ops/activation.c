#include "ops/activation.h"

#include <math.h>

#include "ops/elementwise.h"
#include "ops/elementwise_op.h"

MT_BY_KERNEL(sigmoid)
MT_BY_KERNEL(tanh)
MT_BY_KERNEL(gelu)
MT_BY_KERNEL(gelu_by_tanh)
MT_BY_KERNEL(silu)

static float softplus(float x, float beta, float threshold) {
  return beta * x > threshold ? x : log1pf(expf(beta * x)) / beta;
}

static float softplus_slope(float x, float beta, float threshold) {
  const float e = expf(beta * x);
  return beta * x > threshold ? 1.0f : e / (1.0f + e);
}

MT_FORWARD(softplus, softplus(x, (float)s->first, (float)s->second))
MT_BACKWARD(softplus, softplus_slope(saved, (float)s->first, (float)s->second) * dy)

MT_FORWARD(leaky_relu, x > 0.0f ? x : x * (float)s->first)
MT_BACKWARD(leaky_relu, saved > 0.0f ? dy : dy * (float)s->first)

MT_ELEMENTWISE_OP(sigmoid, MT_SAVES_OUTPUT);
MT_ELEMENTWISE_OP(tanh, MT_SAVES_OUTPUT);
MT_ELEMENTWISE_OP(gelu, MT_SAVES_INPUT);
MT_ELEMENTWISE_OP(gelu_by_tanh, MT_SAVES_INPUT);
MT_ELEMENTWISE_OP(silu, MT_SAVES_INPUT);
MT_ELEMENTWISE_OP(softplus, MT_SAVES_INPUT);
MT_ELEMENTWISE_OP(leaky_relu, MT_SAVES_INPUT);

mt_tensor *mt_sigmoid(mt_tensor *t) { return mt_elementwise(&sigmoid_op, t, 0, 0); }
mt_tensor *mt_tanh(mt_tensor *t) { return mt_elementwise(&tanh_op, t, 0, 0); }
mt_tensor *mt_gelu(mt_tensor *t, bool by_tanh) {
  return mt_elementwise(by_tanh ? &gelu_by_tanh_op : &gelu_op, t, 0, 0);
}
mt_tensor *mt_silu(mt_tensor *t) { return mt_elementwise(&silu_op, t, 0, 0); }
mt_tensor *mt_softplus(mt_tensor *t, double beta, double threshold) {
  return mt_elementwise(&softplus_op, t, beta, threshold);
}
mt_tensor *mt_leaky_relu(mt_tensor *t, double slope) { return mt_elementwise(&leaky_relu_op, t, slope, 0); }
mt_tensor *mt_relu6(mt_tensor *t) { return mt_clamp(t, 0.0, 6.0); }
