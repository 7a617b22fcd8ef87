#include "kernels/functions.h"

#include "kernels/math.h"

#define FUNCTION(name, value)                                                              \
  MT_INLINE mt_vf name##_of(mt_vf x) { return value; }                                     \
  void MT_KERNEL(name)(float *y, const float *x, int64_t n) {                              \
    int64_t i = 0;                                                                         \
    for (; i + MT_VF <= n; i += MT_VF) mt_store(y + i, name##_of(mt_load(x + i)));         \
    if (i < n) mt_store_n(y + i, name##_of(mt_load_n(x + i, (int)(n - i))), (int)(n - i)); \
  }

#define GRADIENT(name, value)                                                                                  \
  MT_INLINE mt_vf name##_slope(mt_vf saved, mt_vf dy) { return value; }                                        \
  void MT_KERNEL(name##_backward)(float *dx, const float *saved, const float *dy, int64_t n) {                 \
    int64_t i = 0;                                                                                             \
    for (; i + MT_VF <= n; i += MT_VF) mt_store(dx + i, name##_slope(mt_load(saved + i), mt_load(dy + i)));    \
    const int rest = (int)(n - i);                                                                             \
    if (rest > 0) mt_store_n(dx + i, name##_slope(mt_load_n(saved + i, rest), mt_load_n(dy + i, rest)), rest); \
  }

FUNCTION(neg, -x)
GRADIENT(neg, ((void)saved, -dy))

FUNCTION(abs, mt_abs(x))
GRADIENT(abs, mt_select(saved > 0.0f, dy, mt_select(saved < 0.0f, -dy, (mt_vf){0})))

FUNCTION(relu, mt_relu(x))
GRADIENT(relu, mt_relu_mask(saved, dy))

FUNCTION(sqrt, mt_sqrt(x))
GRADIENT(sqrt, dy / (2.0f * saved))

FUNCTION(exp, mt_exp(x))
GRADIENT(exp, saved *dy)

FUNCTION(expm1, mt_expm1(x))
GRADIENT(expm1, (saved + 1.0f) * dy)

FUNCTION(log, mt_log(x))
GRADIENT(log, dy / saved)

FUNCTION(log1p, mt_log1p(x))
GRADIENT(log1p, dy / (1.0f + saved))

FUNCTION(tanh, mt_tanh(x))
GRADIENT(tanh, (1.0f - saved * saved) * dy)

FUNCTION(sigmoid, mt_sigmoid(x))
GRADIENT(sigmoid, saved *(1.0f - saved) * dy)

MT_INLINE mt_vf silu_derivative(mt_vf x) {
  const mt_vf s = mt_sigmoid(x);
  return s * (1.0f + x * (1.0f - s));
}

FUNCTION(silu, x *mt_sigmoid(x))
GRADIENT(silu, silu_derivative(saved) * dy)

#define TWO_OVER_SQRT_PI 1.12837916709551257390f
FUNCTION(erf, mt_erf(x))
GRADIENT(erf, TWO_OVER_SQRT_PI *mt_exp(-saved *saved) * dy)

#define INVERSE_SQRT_TWO_PI 0.39894228040143267794f
/* What gelu keeps of x: all but |x| times the normal distribution's share beyond |x| of what is above 0, and that of
 * what is below. */
MT_INLINE mt_vf gelu_value(mt_vf x) {
  const mt_vf t = mt_at_most(mt_abs(x), 16.0f);
  return mt_at_least(x, 0.0f) - t * mt_normal_beyond(t, mt_normal_bell(t));
}

MT_INLINE mt_vf gelu_derivative(mt_vf x) {
  const mt_vf t = mt_at_most(mt_abs(x), 16.0f), bell = mt_normal_bell(t), beyond = mt_normal_beyond(t, bell);
  return mt_select(x < 0.0f, beyond, 1.0f - beyond) + x * (INVERSE_SQRT_TWO_PI * bell);
}

FUNCTION(gelu, gelu_value(x))
GRADIENT(gelu, gelu_derivative(saved) * dy)

/* 1/2 (1 + tanh(u / 2)) is sigmoid(u). Beyond 20 it is 0 or 1, and u needs not grow. */
#define TWICE_SQRT_TWO_OVER_PI 1.59576912160573071176f
#define GELU_CUBIC 0.044715f
MT_INLINE mt_vf gelu_share(mt_vf x) { return mt_sigmoid(TWICE_SQRT_TWO_OVER_PI * (x + GELU_CUBIC * (x * x * x))); }

MT_INLINE mt_vf gelu_by_tanh_derivative(mt_vf x) {
  const mt_vf bounded = mt_at_most(mt_at_least(x, -20.0f), 20.0f), s = gelu_share(bounded);
  const mt_vf inner = TWICE_SQRT_TWO_OVER_PI * (1.0f + 3.0f * GELU_CUBIC * (bounded * bounded));
  return s + bounded * (s * (1.0f - s)) * inner;
}

FUNCTION(gelu_by_tanh, x *gelu_share(mt_at_most(mt_at_least(x, -20.0f), 20.0f)))
GRADIENT(gelu_by_tanh, gelu_by_tanh_derivative(saved) * dy)

FUNCTION(sin, mt_sin(x))
GRADIENT(sin, mt_cos(saved) * dy)

FUNCTION(cos, mt_cos(x))
GRADIENT(cos, -mt_sin(saved) * dy)

/* ---- clamp ---- */

/* `high` wins where the ends are the wrong way round; NaN stays. */
void MT_KERNEL(clamp)(float *y, const float *x, int64_t n, float low, float high) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) {
    const float raised = x[i] < low ? low : x[i];
    y[i] = raised > high ? high : raised;
  }
}

/* Strictly inside, as in PyTorch 2.15; an infinite end is no end. */
void MT_KERNEL(clamp_backward)(float *dx, const float *x, const float *dy, int64_t n, float low, float high) {
  const int32_t no_low = low == -INFINITY, no_high = high == INFINITY;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) dx[i] = (no_low | (x[i] > low)) & (no_high | (x[i] < high)) ? dy[i] : 0.0f;
}
