/* Powers of floats, whole vectors at a time (kernels/elementwise.h). */
#include "kernels/math.h"

/* Elements i .. i + count - 1, which are 0 or 1 apart. */
MT_INLINE mt_vf operand(const float *p, int64_t stride, int64_t i, int count) {
  if (stride == 0) return mt_splat(*p);
  return mt_load_lanes(p + i, count, count == MT_VF);
}

#define POWER_LOOP(value)                                                               \
  for (int64_t i = 0; i < n; i += MT_VF) {                                              \
    const int count = n - i < MT_VF ? (int)(n - i) : MT_VF;                             \
    const mt_vf x = operand(a, stride_a, i, count), y = operand(b, stride_b, i, count); \
    mt_store_lanes(out + i, value, count, count == MT_VF);                              \
  }

void MT_KERNEL(power) MT_ARITHMETIC_PARAMETERS{POWER_LOOP(mt_power(x, y))}

/* 0 where the exponent is 0, and (for the exponent) where 0 is raised to something >= 0, as in PyTorch. */
MT_INLINE mt_vf of_base(mt_vf g, mt_vf x, mt_vf y) {
  return mt_select(y == 0.0f, (mt_vf){0}, g * y * mt_power(x, y - 1.0f));
}
MT_INLINE mt_vf of_exponent(mt_vf g, mt_vf x, mt_vf y) {
  return mt_select((x == 0.0f) & (y >= 0.0f), (mt_vf){0}, g * mt_power(x, y) * mt_log(x));
}

void MT_KERNEL(power_base_gradient) MT_POWER_GRADIENT_PARAMETERS { POWER_LOOP(of_base(operand(g, 1, i, count), x, y)) }
void MT_KERNEL(power_exponent_gradient) MT_POWER_GRADIENT_PARAMETERS {
  POWER_LOOP(of_exponent(operand(g, 1, i, count), x, y))
}
