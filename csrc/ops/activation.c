#include "ops/activation.h"

#include <math.h>

#include "ops/elementwise.h"
#include "ops/elementwise_op.h"

#define SQRT_HALF 0.70710678118654752440f
#define INVERSE_SQRT_TWO_PI 0.39894228040143267794f
#define SQRT_TWO_OVER_PI 0.79788456080286535588f
#define GELU_CUBIC 0.044715f

static float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

MT_FORWARD(sigmoid, logistic(x))
MT_BACKWARD(sigmoid, saved *(1.0f - saved) * dy)

MT_FORWARD(tanh, tanhf(x))
MT_BACKWARD(tanh, (1.0f - saved * saved) * dy)

/* The normal distribution's share below x; erfc keeps its digits where 1 + erf would lose them. */
static float normal_below(float x) { return 0.5f * erfcf(-SQRT_HALF * x); }

static float normal_density(float x) { return INVERSE_SQRT_TWO_PI * expf(-0.5f * x * x); }

MT_FORWARD(gelu, x *normal_below(x))
MT_BACKWARD(gelu, (normal_below(saved) + saved * normal_density(saved)) * dy)

static float gelu_inner(float x) { return SQRT_TWO_OVER_PI * (x + GELU_CUBIC * x * x * x); }

static float gelu_by_tanh_slope(float x) {
  const float t = tanhf(gelu_inner(x)), inner_slope = SQRT_TWO_OVER_PI * (1.0f + 3.0f * GELU_CUBIC * x * x);
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * inner_slope;
}

MT_FORWARD(gelu_by_tanh, 0.5f * x * (1.0f + tanhf(gelu_inner(x))))
MT_BACKWARD(gelu_by_tanh, gelu_by_tanh_slope(saved) * dy)

static float silu_slope(float x) { return logistic(x) * (1.0f + x * (1.0f - logistic(x))); }

MT_FORWARD(silu, x / (1.0f + expf(-x)))
MT_BACKWARD(silu, silu_slope(saved) * dy)

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
