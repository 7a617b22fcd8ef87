/* Operators, comparisons and functions of one tensor. A number may stand wherever a tensor can: beside float32 it is
 * float32; beside an integer tensor an integer (math.type) stays one, and any other number makes the result float32. */
#include <math.h>

#include "lua/tensor.h"
#include "ops/binary.h"
#include "ops/compare.h"
#include "ops/elementwise.h"
#include "ops/rounding.h"

/* ---- operands ---- */

/* The type of the number at arg beside a tensor of type `other`. `keeps_type`: the operation gives what its operands
 * are (a comparison, a maximum), so a small integer beside uint8 is uint8. */
static mt_dtype scalar_dtype(lua_State *L, int arg, mt_dtype other, bool keeps_type) {
  if (other == MT_FLOAT32 || !lua_isinteger(L, arg)) return MT_FLOAT32;
  const lua_Integer value = lua_tointeger(L, arg);
  if (keeps_type && other == MT_UINT8 && value >= 0 && value <= 255) return MT_UINT8;
  if (value < INT32_MIN || value > INT32_MAX)
    luaL_argerror(L, arg,
                  lua_pushfstring(L, "number beside an integer tensor: int32 expected, got %I", (LUAI_UACINT)value));
  return MT_INT32;
}

/* Replaces the number at arg by a tensor without axes, so that the stack owns it. */
static mt_tensor *scalar_operand(lua_State *L, int arg, mt_dtype other, bool keeps_type) {
  mt_tensor *t;
  const mt_dtype dtype = scalar_dtype(L, arg, other, keeps_type);
  MTL_NEW(L, t, mt_tensor_full(dtype, 0, NULL, lua_tonumber(L, arg)));
  mtl_push_operand(L, t);
  lua_replace(L, arg);
  return t;
}

static mt_tensor *operand(lua_State *L, int arg, const mt_tensor *other, bool keeps_type) {
  mt_tensor *t = mtl_test_tensor(L, arg);
  if (t) return t;
  if (lua_type(L, arg) != LUA_TNUMBER) luaL_typeerror(L, arg, "tensor or number");
  return scalar_operand(L, arg, other ? other->dtype : MT_FLOAT32, keeps_type);
}

static void operands(lua_State *L, int first, bool keeps_type, mt_tensor *pair[2]) {
  const mt_tensor *left = mtl_test_tensor(L, first), *right = mtl_test_tensor(L, first + 1);
  pair[0] = operand(L, first, right, keeps_type);
  pair[1] = operand(L, first + 1, left, keeps_type);
}

typedef mt_tensor *(*binary_function)(mt_tensor *a, mt_tensor *b);

static int apply_binary(lua_State *L, binary_function f, bool keeps_type) {
  mt_tensor *result, *pair[2];
  operands(L, 1, keeps_type, pair);
  MTL_NEW(L, result, f(pair[0], pair[1]));
  mtl_push_tensor(L, result);
  return 1;
}

/* ---- arithmetic: t + u, t - u, t * u, t / u, -t, t ^ u ---- */

static int add(lua_State *L) { return apply_binary(L, mt_add, false); }
static int subtract(lua_State *L) { return apply_binary(L, mt_sub, false); }
static int multiply(lua_State *L) { return apply_binary(L, mt_mul, false); }
static int divide(lua_State *L) { return apply_binary(L, mt_div, false); }

/*** The larger of two, element by element; NaN where either is NaN. Either may be a number.
@function maximum
@tparam Tensor|number a
@tparam Tensor|number b
@treturn Tensor */
static int maximum(lua_State *L) { return apply_binary(L, mt_maximum, true); }

/*** The smaller of two, element by element; NaN where either is NaN. Either may be a number.
@function minimum
@tparam Tensor|number a
@tparam Tensor|number b
@treturn Tensor */
static int minimum(lua_State *L) { return apply_binary(L, mt_minimum, true); }

int mtl_apply_unary(lua_State *L, mt_tensor *(*f)(mt_tensor *t)) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  MTL_NEW(L, result, f(t));
  mtl_push_tensor(L, result);
  return 1;
}

/*** -t.
@function Tensor:neg
@treturn Tensor */
static int neg(lua_State *L) { return mtl_apply_unary(L, mt_neg); }

/*** e to the power of each element.
@function Tensor:exp
@treturn Tensor float32 */
static int exponential(lua_State *L) { return mtl_apply_unary(L, mt_exp); }

/*** Natural logarithm.
@function Tensor:log
@treturn Tensor float32 */
static int logarithm(lua_State *L) { return mtl_apply_unary(L, mt_log); }

/*** Square root.
@function Tensor:sqrt
@treturn Tensor float32 */
static int square_root(lua_State *L) { return mtl_apply_unary(L, mt_sqrt); }

/*** Magnitude.
@function Tensor:abs
@treturn Tensor */
static int absolute(lua_State *L) { return mtl_apply_unary(L, mt_abs); }

/*** max(0, x).
@function Tensor:relu
@treturn Tensor */
static int relu(lua_State *L) { return mtl_apply_unary(L, mt_relu); }

/*** e to the power of each element, minus 1; exact near 0.
@function Tensor:expm1
@treturn Tensor float32 */
static int exponential_minus_one(lua_State *L) { return mtl_apply_unary(L, mt_expm1); }

/*** Natural logarithm of 1 + each element; exact near 0.
@function Tensor:log1p
@treturn Tensor float32 */
static int logarithm_of_one_plus(lua_State *L) { return mtl_apply_unary(L, mt_log1p); }

/*** Sine, of radians.
@function Tensor:sin
@treturn Tensor float32 */
static int sine(lua_State *L) { return mtl_apply_unary(L, mt_sin); }

/*** Cosine, of radians.
@function Tensor:cos
@treturn Tensor float32 */
static int cosine(lua_State *L) { return mtl_apply_unary(L, mt_cos); }

/*** The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.
@function Tensor:erf
@treturn Tensor float32 */
static int error_function(lua_State *L) { return mtl_apply_unary(L, mt_erf); }

/*** The next whole number below. The gradient of floor, ceil, round and sign is 0.
@function Tensor:floor
@treturn Tensor */
static int round_down(lua_State *L) { return mtl_apply_unary(L, mt_floor); }

/*** The next whole number above.
@function Tensor:ceil
@treturn Tensor */
static int round_up(lua_State *L) { return mtl_apply_unary(L, mt_ceil); }

/*** The nearest whole number, of two equally near ones the even one.
@function Tensor:round
@treturn Tensor */
static int round_to_nearest(lua_State *L) { return mtl_apply_unary(L, mt_round); }

/*** -1, 0 or 1; 0 for NaN.
@function Tensor:sign
@treturn Tensor */
static int sign(lua_State *L) { return mtl_apply_unary(L, mt_sign); }

/*** Each element to the power of a number or of another tensor's element; also `t ^ exponent` and `number ^ t`.
@function Tensor:pow
@tparam number|Tensor exponent
@treturn Tensor float32 */
static int power(lua_State *L) {
  mt_tensor *result, *t = mtl_test_tensor(L, 1);
  if (!t || lua_type(L, 2) != LUA_TNUMBER) return apply_binary(L, mt_power, false);
  const double exponent = lua_tonumber(L, 2);
  MTL_NEW(L, result, mt_pow(t, exponent));
  mtl_push_tensor(L, result);
  return 1;
}

static double check_end(lua_State *L, int arg, double fallback) {
  if (lua_isnoneornil(L, arg)) return fallback;
  const double value = mtl_check_number(L, arg);
  if (isnan(value)) luaL_argerror(L, arg, "a number other than NaN expected");
  return value;
}

/*** Elements outside [low, high] become the nearer end. Gradients pass where an element lies inside, not on an end.
@function Tensor:clamp
@tparam ?number low
@tparam ?number high
@treturn Tensor */
static int clamp(lua_State *L) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const double low = check_end(L, 2, -HUGE_VAL), high = check_end(L, 3, HUGE_VAL);
  MTL_NEW(L, result, mt_clamp(t, low, high));
  mtl_push_tensor(L, result);
  return 1;
}

/* ---- comparison and choice ---- */

static int compare(lua_State *L, mt_comparison comparison) {
  mt_tensor *result, *pair[2];
  mtl_check_tensor(L, 1);
  operands(L, 1, true, pair);
  MTL_NEW(L, result, mt_compare(comparison, pair[0], pair[1]));
  mtl_push_tensor(L, result);
  return 1;
}

/* Lua's == asks whether two tensors are the same object; these compare element by element. */

/*** Where elements are equal; the two broadcast.
@function Tensor:eq
@tparam Tensor|number other
@treturn Tensor uint8, 1 where true */
static int equal(lua_State *L) { return compare(L, MT_EQ); }

/*** Where elements are not equal; the two broadcast.
@function Tensor:ne
@tparam Tensor|number other
@treturn Tensor uint8, 1 where true */
static int not_equal(lua_State *L) { return compare(L, MT_NE); }

/*** Where elements are less; the two broadcast.
@function Tensor:lt
@tparam Tensor|number other
@treturn Tensor uint8, 1 where true */
static int less(lua_State *L) { return compare(L, MT_LT); }

/*** Where elements are less or equal; the two broadcast.
@function Tensor:le
@tparam Tensor|number other
@treturn Tensor uint8, 1 where true */
static int less_or_equal(lua_State *L) { return compare(L, MT_LE); }

/*** Where elements are greater; the two broadcast.
@function Tensor:gt
@tparam Tensor|number other
@treturn Tensor uint8, 1 where true */
static int greater(lua_State *L) { return compare(L, MT_GT); }

/*** Where elements are greater or equal; the two broadcast.
@function Tensor:ge
@tparam Tensor|number other
@treturn Tensor uint8, 1 where true */
static int greater_or_equal(lua_State *L) { return compare(L, MT_GE); }

/*** a where mask is not 0, b elsewhere; everything broadcasts.
@function where
@tparam Tensor mask
@tparam Tensor|number a
@tparam Tensor|number b
@treturn Tensor */
static int where(lua_State *L) {
  mt_tensor *result, *pair[2], *mask = mtl_check_tensor(L, 1);
  operands(L, 2, true, pair);
  MTL_NEW(L, result, mt_where(mask, pair[0], pair[1]));
  mtl_push_tensor(L, result);
  return 1;
}

const luaL_Reg mtl_tensor_arithmetic_functions[] = {
    {"maximum", maximum}, {"minimum", minimum}, {"where", where}, {NULL, NULL}};

const luaL_Reg mtl_tensor_arithmetic_methods[] = {
    {"neg", neg},
    {"exp", exponential},
    {"expm1", exponential_minus_one},
    {"log", logarithm},
    {"sqrt", square_root},
    {"log1p", logarithm_of_one_plus},
    {"abs", absolute},
    {"relu", relu},
    {"pow", power},
    {"sin", sine},
    {"cos", cosine},
    {"erf", error_function},
    {"floor", round_down},
    {"ceil", round_up},
    {"round", round_to_nearest},
    {"sign", sign},
    {"clamp", clamp},
    {"maximum", maximum},
    {"minimum", minimum},
    {"eq", equal},
    {"ne", not_equal},
    {"lt", less},
    {"le", less_or_equal},
    {"gt", greater},
    {"ge", greater_or_equal},
    {NULL, NULL},
};

const luaL_Reg mtl_tensor_operators[] = {
    {"__add", add}, {"__sub", subtract}, {"__mul", multiply}, {"__div", divide},
    {"__unm", neg}, {"__pow", power},    {NULL, NULL},
};
