/* Elementary functions of vectors. Included by kernel files only.
 *
 * A value's result is the same in whichever lane it stands, so the same bits come out wherever a tensor is cut. The
 * largest errors over all floats, denormals included, in units in the last place (spec/ops/ulp_spec.lua measures them
 * against double precision): power 0.6, exp 1, log 0.8, erf 1.1, tanh 1.3, expm1, log1p, sin and cos 1.5, sigmoid 2.3,
 * and gelu, while the result is a normal number, 5.5 (4.8 where the processor fuses). NaN, infinities, signed zeros and
 * overflow are as C's math library has them.
 *
 * Polynomials are minimax fits with single-precision coefficients (Lawson's iteration). */
#ifndef MT_KERNELS_MATH_H
#define MT_KERNELS_MATH_H

#include <math.h>

#include "kernels/vector.h"

/* Bits wrap around where they are counted as unsigned: beyond the range of a function its other branch is taken. */
typedef uint32_t mt_vu __attribute__((vector_size(MT_VECTOR_BYTES)));
MT_INLINE mt_vi mt_minus(mt_vi a, mt_vi b) { return (mt_vi)((mt_vu)a - (mt_vu)b); }
MT_INLINE mt_vi mt_shifted_left(mt_vi a, int bits) { return (mt_vi)((mt_vu)a << bits); }

MT_INLINE mt_vi mt_splat_int(int32_t x) { return x - (mt_vi){0}; }
MT_INLINE mt_vf mt_abs(mt_vf x) { return (mt_vf)((mt_vi)x & mt_splat_int(INT32_MAX)); }
MT_INLINE mt_vf mt_with_sign(mt_vf magnitude, mt_vf sign) {
  return (mt_vf)((mt_vi)magnitude | ((mt_vi)sign & mt_splat_int(INT32_MIN)));
}

/* mt_select: where a comparison's result holds; mt_at_least and mt_at_most: NaN passes. */
#if MT_VECTOR_BYTES == 64
MT_INLINE mt_vf mt_select(mt_vi mask, mt_vf yes, mt_vf no) {
  return (mt_vf)_mm512_mask_blend_ps(_mm512_movepi32_mask((__m512i)mask), (__m512)no, (__m512)yes);
}
MT_INLINE mt_vf mt_at_least(mt_vf x, float low) { return (mt_vf)_mm512_max_ps((__m512)mt_splat(low), (__m512)x); }
MT_INLINE mt_vf mt_at_most(mt_vf x, float high) { return (mt_vf)_mm512_min_ps((__m512)mt_splat(high), (__m512)x); }
#elif MT_VECTOR_BYTES == 32
MT_INLINE mt_vf mt_select(mt_vi mask, mt_vf yes, mt_vf no) {
  return (mt_vf)_mm256_blendv_ps((__m256)no, (__m256)yes, (__m256)mask);
}
MT_INLINE mt_vf mt_at_least(mt_vf x, float low) { return (mt_vf)_mm256_max_ps((__m256)mt_splat(low), (__m256)x); }
MT_INLINE mt_vf mt_at_most(mt_vf x, float high) { return (mt_vf)_mm256_min_ps((__m256)mt_splat(high), (__m256)x); }
#else
MT_INLINE mt_vf mt_select(mt_vi mask, mt_vf yes, mt_vf no) {
  return (mt_vf)((mask & (mt_vi)yes) | (~mask & (mt_vi)no));
}
MT_INLINE mt_vf mt_at_least(mt_vf x, float low) { return mt_select(x < mt_splat(low), mt_splat(low), x); }
MT_INLINE mt_vf mt_at_most(mt_vf x, float high) { return mt_select(x > mt_splat(high), mt_splat(high), x); }
#endif

/* a where it is larger than b, else b. */
#if MT_VECTOR_BYTES == 64
MT_INLINE mt_vf mt_larger(mt_vf a, mt_vf b) { return (mt_vf)_mm512_max_ps((__m512)a, (__m512)b); }
#elif MT_VECTOR_BYTES == 32
MT_INLINE mt_vf mt_larger(mt_vf a, mt_vf b) { return (mt_vf)_mm256_max_ps((__m256)a, (__m256)b); }
#else
MT_INLINE mt_vf mt_larger(mt_vf a, mt_vf b) { return mt_select(a > b, a, b); }
#endif

#if MT_VECTOR_BYTES == 64
MT_INLINE mt_vf mt_sqrt(mt_vf x) { return (mt_vf)_mm512_sqrt_ps((__m512)x); }
#elif MT_VECTOR_BYTES == 32
MT_INLINE mt_vf mt_sqrt(mt_vf x) { return (mt_vf)_mm256_sqrt_ps((__m256)x); }
#else
MT_INLINE mt_vf mt_sqrt(mt_vf x) {
  mt_vf y;
  for (int i = 0; i < MT_VF; i++) y[i] = __builtin_sqrtf(x[i]);
  return y;
}
#endif

/* ---- double precision: twice as many bytes, so two vectors ---- */

typedef double mt_vd __attribute__((vector_size(MT_VECTOR_BYTES)));
typedef float mt_half __attribute__((vector_size(MT_VECTOR_BYTES / 2)));
typedef struct {
  mt_vd low, high;
} mt_wide;

/* GCC makes a conversion of half a vector into two of quarters. */
#if MT_VECTOR_BYTES == 64
#define MT_HALF_TO_DOUBLE(half) ((mt_vd)_mm512_cvtps_pd((__m256)(half)))
#define MT_DOUBLE_TO_HALF(x) ((mt_half)_mm512_cvtpd_ps((__m512d)(x)))
#define MT_HALF_LOW(x) ((mt_half)_mm512_castps512_ps256((__m512)(x)))
#define MT_HALF_HIGH(x) ((mt_half)_mm512_extractf32x8_ps((__m512)(x), 1))
#define MT_JOINED(low, high) ((mt_vf)_mm512_insertf32x8(_mm512_castps256_ps512((__m256)(low)), (__m256)(high), 1))
#elif MT_VECTOR_BYTES == 32
#define MT_HALF_TO_DOUBLE(half) ((mt_vd)_mm256_cvtps_pd((__m128)(half)))
#define MT_DOUBLE_TO_HALF(x) ((mt_half)_mm256_cvtpd_ps((__m256d)(x)))
#define MT_HALF_LOW(x) ((mt_half)_mm256_castps256_ps128((__m256)(x)))
#define MT_HALF_HIGH(x) ((mt_half)_mm256_extractf128_ps((__m256)(x), 1))
#define MT_JOINED(low, high) ((mt_vf)_mm256_set_m128((__m128)(high), (__m128)(low)))
#else
#define MT_HALF_TO_DOUBLE(half) __builtin_convertvector(half, mt_vd)
#define MT_DOUBLE_TO_HALF(x) __builtin_convertvector(x, mt_half)
#define MT_HALF_LOW(x) ((mt_half){(x)[0], (x)[1]})
#define MT_HALF_HIGH(x) ((mt_half){(x)[2], (x)[3]})
#define MT_JOINED(low, high) ((mt_vf){(low)[0], (low)[1], (high)[0], (high)[1]})
#endif

MT_INLINE mt_wide mt_widen(mt_vf x) {
  return (mt_wide){MT_HALF_TO_DOUBLE(MT_HALF_LOW(x)), MT_HALF_TO_DOUBLE(MT_HALF_HIGH(x))};
}

MT_INLINE mt_wide mt_wide_sum(mt_wide a, mt_wide b) { return (mt_wide){a.low + b.low, a.high + b.high}; }

MT_INLINE mt_vf mt_narrow(mt_wide x) { return MT_JOINED(MT_DOUBLE_TO_HALF(x.low), MT_DOUBLE_TO_HALF(x.high)); }

typedef double mt_vdu __attribute__((vector_size(MT_VECTOR_BYTES), aligned(8), may_alias)); /* unaligned access */
MT_INLINE void mt_add_to(double *sums, mt_vf terms) {
  const mt_wide wide = mt_widen(terms);
  *(mt_vdu *)sums += wide.low;
  *(mt_vdu *)(sums + MT_VF / 2) += wide.high;
}

/* Between low and high; what becomes of NaN is left open. */
MT_INLINE mt_vd mt_bounded(mt_vd x, double low, double high) {
#if MT_VECTOR_BYTES == 64
  return (mt_vd)_mm512_min_pd(_mm512_max_pd((__m512d)x, _mm512_set1_pd(low)), _mm512_set1_pd(high));
#elif MT_VECTOR_BYTES == 32
  return (mt_vd)_mm256_min_pd(_mm256_max_pd((__m256d)x, _mm256_set1_pd(low)), _mm256_set1_pd(high));
#else
  for (int i = 0; i < MT_VF / 2; i++) x[i] = x[i] > low ? x[i] < high ? x[i] : high : low;
  return x;
#endif
}

/* ---- over the lanes of a vector ---- */

MT_INLINE double mt_lane_sum(mt_vd x) {
  double sums[MT_VF / 2];
  __builtin_memcpy(sums, &x, sizeof sums);
  for (int width = MT_VF / 4; width > 0; width /= 2)
    for (int i = 0; i < width; i++) sums[i] += sums[i + width];
  return sums[0];
}

MT_INLINE float mt_lane_largest(mt_vf x) {
  float largest = x[0];
  for (int i = 1; i < MT_VF; i++) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

/* Of a comparison's result. */
MT_INLINE bool mt_all(mt_vi mask) {
#if MT_VECTOR_BYTES == 32
  return _mm256_movemask_ps((__m256)mask) == 255;
#else
  int32_t all = -1;
  for (int i = 0; i < MT_VF; i++) all &= mask[i];
  return all != 0;
#endif
}

MT_INLINE bool mt_any(mt_vi mask) { return !mt_all(~mask); }

/* ---- polynomials ---- */

/* c[0] + x (c[1] + x (c[2] + ...)) */
#define MT_POLYNOMIAL_OF_(type, number, x, ...)                                                                   \
  ({                                                                                                              \
    static const number c_[] = {__VA_ARGS__};                                                                     \
    type sum_ = c_[sizeof c_ / sizeof *c_ - 1] - (type){0};                                                       \
    _Pragma("GCC unroll 16") for (int i_ = sizeof c_ / sizeof *c_ - 2; i_ >= 0; i_--) sum_ = sum_ * (x) + c_[i_]; \
    sum_;                                                                                                         \
  })
#define MT_POLYNOMIAL(x, ...) MT_POLYNOMIAL_OF_(mt_vf, float, x, __VA_ARGS__)
#define MT_WIDE_POLYNOMIAL(x, ...) MT_POLYNOMIAL_OF_(mt_vd, double, x, __VA_ARGS__)

/* ---- exponentials ---- */

/* 2^n, -126 <= n <= 127 */
MT_INLINE mt_vf mt_power_of_two(mt_vi n) { return (mt_vf)(((mt_vu)n + 127) << 23); }

/* x = n ln 2 + r with |r| <= ln 2 / 2: adding 1.5 * 2^23 rounds to whole numbers, and leaves n in the lowest bits; ln 2
 * comes in two parts, of which the first times n is exact. */
#define MT_ROUNDING 12582912.0f
MT_INLINE mt_vf mt_reduce_exponent(mt_vf x, mt_vf *shifted) {
  *shifted = x * 1.44269504f + MT_ROUNDING;
  const mt_vf whole = *shifted - MT_ROUNDING;
  return (x - whole * 0.693359375f) - whole * -2.12194440e-4f;
}

/* x 2^n for 1/2 <= x < 2 and |n| <= 252, rounded once. Elsewhere than on AVX-512 n is added to the exponent's bits,
 * and where that could leave the range of normal numbers x is scaled twice by half the power. */
#if MT_VECTOR_BYTES == 64
MT_INLINE mt_vf mt_scaled(mt_vf x, mt_vf shifted) {
  return (mt_vf)_mm512_scalef_ps((__m512)x, (__m512)(shifted - MT_ROUNDING));
}
#else
MT_INLINE mt_vf mt_scaled(mt_vf x, mt_vf shifted) {
  if (__builtin_expect(!mt_all(mt_abs(shifted - MT_ROUNDING) <= 125.0f), 0)) { /* or NaN */
    const mt_vi n = mt_minus((mt_vi)shifted, (mt_vi)mt_splat(MT_ROUNDING)), half = n >> 1;
    return x * mt_power_of_two(half) * mt_power_of_two(mt_minus(n, half));
  }
  return (mt_vf)((mt_vu)x + ((mt_vu)shifted << 23)); /* 1.5 * 2^23 has no bit that would stay */
}
#endif

/* exp for -128 <= x <= 89; beyond are 0 and infinity. */
MT_INLINE mt_vf mt_exp_within(mt_vf x) {
  mt_vf shifted;
  const mt_vf r = mt_reduce_exponent(x, &shifted);
  const mt_vf tail =
      MT_POLYNOMIAL(r, 0.5f, 0.166666642f, 0.0416664556f, 0.0083338879f, 0.00139357802f, 0.000195773391f);
  return mt_scaled((tail * (r * r) + r) + 1.0f, shifted);
}

MT_INLINE mt_vf mt_exp(mt_vf x) { return mt_exp_within(mt_at_most(mt_at_least(x, -104.0f), 89.0f)); }

/* exp for x <= 0 */
MT_INLINE mt_vf mt_exp_below_1(mt_vf x) { return mt_exp_within(mt_at_least(x, -104.0f)); }

/* With s = 2^(n - 1): 2 (s (exp(r) - 1) + (s - 1/2)). */
MT_INLINE mt_vf mt_expm1(mt_vf x) {
  mt_vf shifted;
  const mt_vf bounded = mt_at_most(mt_at_least(x, -18.0f), 89.0f), r = mt_reduce_exponent(bounded, &shifted);
  const mt_vf tail =
      MT_POLYNOMIAL(r, 0.5f, 0.166666642f, 0.0416664742f, 0.00833391212f, 0.00139340607f, 0.000195551314f);
  const mt_vf s = mt_power_of_two(mt_minus((mt_vi)shifted, (mt_vi)mt_splat(MT_ROUNDING + 1.0f))),
              small = tail * (r * r) + r, y = 2.0f * (s * small + (s - 0.5f));
  return mt_select(x == 0.0f, x, mt_select(x > mt_splat(88.8f), mt_splat(INFINITY), y));
}

/* ---- logarithms ---- */

/* x = 2^e m with 1/sqrt(2) <= m < sqrt(2); log m = f - f^2 / 2 + f^3 P(f) with f = m - 1. */
MT_INLINE mt_vf mt_log(mt_vf x) {
  const mt_vi tiny = x < mt_splat(0x1p-126f);
  const mt_vi bits = (mt_vi)mt_select(tiny, x * 0x1p23f, x), root = mt_splat_int(0x3f3504f3);
  const mt_vi exponent = mt_minus(bits, root) >> 23;
  const mt_vf f = (mt_vf)mt_minus(bits, mt_shifted_left(exponent, 23)) - 1.0f, f2 = f * f;
  const mt_vf e = __builtin_convertvector(exponent - (tiny & 23), mt_vf);
  const mt_vf p = MT_POLYNOMIAL(f, 0.333333135f, -0.250000119f, 0.20002073f, -0.166678548f, 0.142202333f, -0.124081969f,
                                0.11886204f, -0.116606608f, 0.0673301071f);
  const mt_vf small = (f * f2) * p + e * -2.12194440e-4f;
  const mt_vf y = ((small - 0.5f * f2) + f) + e * 0.693359375f;
  const mt_vf end = mt_select(x == 0.0f, mt_splat(-INFINITY), mt_select(x > 0.0f, x, mt_splat(NAN)));
  return mt_select((x > 0.0f) & (x < mt_splat(INFINITY)), y, end);
}

/* log u, u = 1 + x, and what rounding took from u, divided by u. */
MT_INLINE mt_vf mt_log1p(mt_vf x) {
  const mt_vf u = 1.0f + x, lost = mt_select(x < 1.0f, x - (u - 1.0f), 1.0f - (u - x)), whole = mt_log(u);
  const mt_vf y = mt_select((u > 0.0f) & (u < mt_splat(INFINITY)), whole + lost / u, whole);
  return mt_select(x == 0.0f, x, y);
}

/* ---- powers ---- */

typedef int64_t mt_vl __attribute__((vector_size(MT_VECTOR_BYTES)));
typedef uint64_t mt_vlu __attribute__((vector_size(MT_VECTOR_BYTES)));

/* log2(1 + f) = s P(s^2) with s = f / (2 + f). */
MT_INLINE mt_vd mt_wide_log2(mt_vd f) {
  const mt_vd s = f / (2.0 + f), s2 = s * s;
  return s * MT_WIDE_POLYNOMIAL(s2, 2.8853900817900784, 0.96179667334791397, 0.57708358370247503, 0.41167279951181324,
                                0.34072853932162162);
}

/* 2^x; beyond the range of floats it is infinite or 0 as a float. x = n + r; n is added to the exponent's bits. */
MT_INLINE mt_vd mt_wide_exp2(mt_vd x) {
  const mt_vd bounded = mt_bounded(x, -160.0, 130.0), shifted = bounded + 0x1.8p52, r = bounded - (shifted - 0x1.8p52);
  const mt_vd fraction =
      MT_WIDE_POLYNOMIAL(r, 1.0000000005541683, 0.69314720573726152, 0.24022646890621879, 0.055503287769726281,
                         0.0096184889584952932, 0.0013399931217055361, 0.00015345811624850958);
  return (mt_vd)((mt_vlu)fraction + ((mt_vlu)shifted << 52));
}

/* x^y for x > 0, 0 and infinity included, by the logarithm in double precision: 0's and infinity's is so large that
 * any y takes it out of bounds. */
MT_INLINE mt_vf mt_positive_power(mt_vf x, mt_vf y) {
  const mt_vi tiny = x < mt_splat(0x1p-126f);
  const mt_vi bits = (mt_vi)mt_select(tiny, x * 0x1p23f, x), root = mt_splat_int(0x3f3504f3);
  const mt_vi exponent = mt_minus(bits, root) >> 23;
  const mt_vf f = (mt_vf)mt_minus(bits, mt_shifted_left(exponent, 23)) - 1.0f;
  const mt_vf e = __builtin_convertvector(exponent - (tiny & 23), mt_vf);
  const mt_vf far = mt_select(x == 0.0f, mt_splat(-1e38f), mt_select(x == INFINITY, mt_splat(1e38f), (mt_vf){0}));
  const mt_wide mantissa = mt_widen(f), whole = mt_widen(e), beyond = mt_widen(far), power = mt_widen(y);
  const mt_vd low = mt_wide_log2(mantissa.low) + (whole.low + beyond.low * 1e38);
  const mt_vd high = mt_wide_log2(mantissa.high) + (whole.high + beyond.high * 1e38);
  return mt_narrow((mt_wide){mt_wide_exp2(low * power.low), mt_wide_exp2(high * power.high)});
}

/* As C's powf has it: of x < 0 only whole powers, odd ones with its sign; x^0 and 1^y are 1, even where the other one
 * is NaN. */
MT_INLINE mt_vf mt_power(mt_vf x, mt_vf y) {
  const mt_vf a = mt_abs(x), near = mt_at_most(mt_at_least(y, -0x1p25f), 0x1p25f);
  const mt_vi count = __builtin_convertvector(near, mt_vi), is_whole = __builtin_convertvector(count, mt_vf) == near;
  const mt_vf positive = mt_positive_power(a, y);
  const mt_vi sign = (mt_vi)x & is_whole & mt_shifted_left(count, 31);
  const mt_vf signed_power = (mt_vf)((mt_vi)positive ^ sign);
  const mt_vi no_number = ((x < 0.0f) & (a < mt_splat(INFINITY)) & ~is_whole) | (x != x) | (y != y);
  const mt_vi one = (y == 0.0f) | (x == 1.0f) | ((a == 1.0f) & (mt_abs(y) == mt_splat(INFINITY)));
  return mt_select(one, mt_splat(1.0f), mt_select(no_number, mt_splat(NAN), signed_power));
}

/* ---- sine and cosine ---- */

/* Where x is larger the reduction below runs out of digits, and C's math library has to do. */
#define MT_TURN_LIMIT 1e6f

#define HALF_PI_HEAD 0x1.921fb54400000p+0
#define HALF_PI_TAIL 0x1.0b4611a626331p-34

/* x = n pi / 2 + r, |r| <= pi / 4, in double precision; pi / 2 in two parts, of which the first times n is exact. */
MT_INLINE mt_vf mt_reduce_turn(mt_vf x, mt_vi *n) {
  const mt_vf shifted = x * 0.636619772f + 12582912.0f, whole = shifted - 12582912.0f;
  const mt_wide angle = mt_widen(x), count = mt_widen(whole);
  *n = mt_minus((mt_vi)shifted, (mt_vi)mt_splat(12582912.0f));
  return mt_narrow((mt_wide){(angle.low - count.low * HALF_PI_HEAD) - count.low * HALF_PI_TAIL,
                             (angle.high - count.high * HALF_PI_HEAD) - count.high * HALF_PI_TAIL});
}

/* The sine of r + n pi / 2. */
MT_INLINE mt_vf mt_sine_of_turn(mt_vf r, mt_vi n) {
  const mt_vf r2 = r * r;
  const mt_vf s = MT_POLYNOMIAL(r2, -0.166666672f, 0.00833337288f, -0.000198502836f, 2.80414838e-06f);
  const mt_vf c = MT_POLYNOMIAL(r2, 0.0416666679f, -0.0013888973f, 2.48192609e-05f, -2.86144115e-07f);
  const mt_vf sine = r + r * (r2 * s), cosine = 1.0f - (0.5f * r2 - (r2 * r2) * c);
  return (mt_vf)((mt_vi)mt_select((n & 1) != 0, cosine, sine) ^ mt_shifted_left(n & 2, 30));
}

MT_INLINE mt_vf mt_sin(mt_vf x) {
  mt_vi n;
  const mt_vf r = mt_reduce_turn(x, &n);
  mt_vf y = mt_select(x == 0.0f, x, mt_sine_of_turn(r, n));
  if (__builtin_expect(mt_any(mt_abs(x) > mt_splat(MT_TURN_LIMIT)), 0))
    for (int i = 0; i < MT_VF; i++)
      if (__builtin_fabsf(x[i]) > MT_TURN_LIMIT) y[i] = sinf(x[i]);
  return y;
}

MT_INLINE mt_vf mt_cos(mt_vf x) {
  mt_vi n;
  const mt_vf r = mt_reduce_turn(x, &n);
  mt_vf y = mt_sine_of_turn(r, mt_minus(n, mt_splat_int(-1)));
  if (__builtin_expect(mt_any(mt_abs(x) > mt_splat(MT_TURN_LIMIT)), 0))
    for (int i = 0; i < MT_VF; i++)
      if (__builtin_fabsf(x[i]) > MT_TURN_LIMIT) y[i] = cosf(x[i]);
  return y;
}

/* ---- sigmoid and tanh ---- */

/* 1 / (1 + exp(-x)): for x < 0 as exp(x) / (1 + exp(x)), which keeps its digits. */
MT_INLINE mt_vf mt_sigmoid(mt_vf x) {
  const mt_vf e = mt_exp_below_1(-mt_abs(x));
  return mt_select(x < 0.0f, e, mt_splat(1.0f)) / (1.0f + e);
}

/* x + x^3 P(x^2) where that is exact, else 1 - 2 / (exp(2 x) + 1). */
MT_INLINE mt_vf mt_tanh(mt_vf x) {
  const mt_vf t = mt_abs(x), x2 = x * x;
  const mt_vf small = MT_POLYNOMIAL(x2, -0.333332807f, 0.133314162f, -0.0537379384f, 0.0206341185f, -0.00570009183f);
  const mt_vf large = 1.0f - 2.0f / (mt_exp_within(mt_at_most(t + t, 89.0f)) + 1.0f);
  return mt_with_sign(mt_select(t < 0.625f, t + t * (x2 * small), large), x);
}

/* ---- the error function and the normal distribution ---- */

/* x + x P(x^2) where that is exact, else 1 - exp(-x P(x)). */
MT_INLINE mt_vf mt_erf(mt_vf x) {
  const mt_vf t = mt_at_most(mt_abs(x), 4.0f), x2 = x * x;
  const mt_vf small = MT_POLYNOMIAL(x2, 0.128379166f, -0.376126319f, 0.112836763f, -0.0268585328f, 0.00519914785f,
                                    -0.0008123187f, 8.2930128e-05f);
  const mt_vf power = MT_POLYNOMIAL(t, -1.12863708f, -0.635198057f, -0.106158964f, 0.0236944426f, -0.0036102545f,
                                    0.000314827834f, -1.04290157e-05f);
  return mt_select(t < 0.93f, x + x * small, mt_with_sign(1.0f - mt_exp_within(t * power), x));
}

/* x^2 - c, rounded once; |x| <= 16. */
#if MT_VECTOR_BYTES == 64
MT_INLINE mt_vf mt_square_minus(mt_vf x, mt_vf c) { return (mt_vf)_mm512_fmsub_ps((__m512)x, (__m512)x, (__m512)c); }
#elif MT_VECTOR_BYTES == 32
MT_INLINE mt_vf mt_square_minus(mt_vf x, mt_vf c) { return (mt_vf)_mm256_fmsub_ps((__m256)x, (__m256)x, (__m256)c); }
#else
MT_INLINE mt_vf mt_square_minus(mt_vf x, mt_vf c) {
  const mt_vf head = (mt_vf)((mt_vi)x & mt_splat_int(-4096)), tail = x - head;
  return ((head * head - c) + 2.0f * head * tail) + tail * tail;
}
#endif

/* exp(-t^2 / 2) for 0 <= t <= 16: 2^n exp(-w / 2) with w = t^2 + 2 n ln 2. The relative error is the absolute one of
 * t^2, which is therefore never rounded, w is. */
MT_INLINE mt_vf mt_normal_bell(mt_vf t) {
  const mt_vf shifted = t * t * -0.72134752f + MT_ROUNDING, n = shifted - MT_ROUNDING;
  const mt_vf w = mt_square_minus(t, n * -1.38671875f) + n * -4.2438888e-4f;
  const mt_vf power =
      MT_POLYNOMIAL(w, 1.0f, -0.5f, 0.124999985f, -0.0208331514f, 0.00260426709f, -0.000261521345f, 2.15938308e-05f);
  return mt_scaled(power, shifted);
}

/* The normal distribution's share beyond t, for 0 <= t <= 16: with c = 0.265 and i = 1 / (1 + c t), it is
 * bell(t) i P(1 - 2 i); exactly 1/2 where t is tiny. */
MT_INLINE mt_vf mt_normal_beyond(mt_vf t, mt_vf bell) {
  const mt_vf i = 1.0f / (1.0f + 0.265f * t), s = (1.0f - i) - i, s2 = s * s;
  const mt_vf even = MT_POLYNOMIAL(s2, 0.198961973f, 0.0944207013f, 0.0104806516f, -0.00111302629f, 0.000121228113f);
  const mt_vf odd = MT_POLYNOMIAL(s2, -0.156393662f, -0.0410356782f, 0.000135800816f, 0.000165061923f);
  return bell * (i * (even + odd * s));
}

#endif
