/* Random numbers for scripts: the default generator and generators of one's own. A generator's whole state is
 * two integers (seed, counter), so that saving and restoring it is exact. The userdata holds the mt_rng itself. */
#include "core/random.h"

#include "lua/binding.h"

/*** Generators of random numbers, as from mt.generator.
@classmod Generator */

/*** Starts the default generator anew.
@function manual_seed
@tparam integer seed */
static int manual_seed(lua_State *L) {
  mt_rng_seed(mt_default_rng(), (uint64_t)mtl_check_integer(L, 1, INT64_MIN, INT64_MAX));
  return 0;
}

static int push_state(lua_State *L, const mt_rng *rng) {
  lua_pushinteger(L, (lua_Integer)rng->seed);
  lua_pushinteger(L, (lua_Integer)rng->counter);
  return 2;
}

/* seed and counter at arg and arg + 1. */
static void check_state(lua_State *L, int arg, mt_rng *rng) {
  const int64_t seed = mtl_check_integer(L, arg, INT64_MIN, INT64_MAX);
  rng->counter = (uint64_t)mtl_check_integer(L, arg + 1, INT64_MIN, INT64_MAX);
  rng->seed = (uint64_t)seed;
}

/*** The state of the default generator.
@function rng_state
@treturn integer seed
@treturn integer counter */
static int rng_state(lua_State *L) { return push_state(L, mt_default_rng()); }

/*** Puts the default generator into a state that rng_state returned.
@function set_rng_state
@tparam integer seed
@tparam integer counter */
static int set_rng_state(lua_State *L) {
  check_state(L, 1, mt_default_rng());
  return 0;
}

/*** A generator of its own.
@function generator
@tparam integer seed
@treturn Generator */
static int generator(lua_State *L) {
  const int64_t seed = mtl_check_integer(L, 1, INT64_MIN, INT64_MAX);
  mt_rng_seed(lua_newuserdatauv(L, sizeof(mt_rng), 0), (uint64_t)seed);
  luaL_setmetatable(L, MTL_GENERATOR);
  return 1;
}

static mt_rng *check_generator(lua_State *L) { return luaL_checkudata(L, 1, MTL_GENERATOR); }

static int push_permutation(lua_State *L, int arg, mt_rng *rng) {
  const int64_t n = mtl_check_integer(L, arg, 0, INT32_MAX);
  mt_tensor *t;
  MTL_NEW(L, t, mt_tensor_new(MT_INT32, 1, &n));
  mt_fill_permutation(mt_i32(t), n, rng);
  for (int64_t i = 0; i < n; i++) mt_i32(t)[i]++;
  mtl_push_tensor(L, t);
  return 1;
}

/*** A random order of 1..n, from the default generator.
@function randperm
@tparam integer n
@treturn Tensor int32 {n} */
static int randperm(lua_State *L) { return push_permutation(L, 1, NULL); }

/*** A random order of 1..n.
@function Generator:permutation
@tparam integer n
@treturn Tensor int32 {n} */
static int permutation(lua_State *L) { return push_permutation(L, 2, check_generator(L)); }

/*** A number in [0, 1).
@function Generator:uniform
@treturn number */
static int uniform(lua_State *L) {
  lua_pushnumber(L, mt_rng_uniform(check_generator(L)));
  return 1;
}

/*** A normally distributed number (mean 0, standard deviation 1).
@function Generator:normal
@treturn number */
static int normal(lua_State *L) {
  lua_pushnumber(L, mt_rng_normal(check_generator(L)));
  return 1;
}

/*** An integer from lo to hi, both included, all equally likely.
@function Generator:integer
@tparam integer lo
@tparam integer hi
@treturn integer */
static int integer(lua_State *L) {
  mt_rng *rng = check_generator(L);
  const int64_t lo = mtl_check_integer(L, 2, INT64_MIN, INT64_MAX);
  const int64_t hi = mtl_check_integer(L, 3, lo, INT64_MAX);
  const uint64_t choices = (uint64_t)hi - (uint64_t)lo + 1;
  if (choices == 0) return luaL_argerror(L, 3, "fewer than 2^64 choices expected");
  lua_pushinteger(L, (lua_Integer)((uint64_t)lo + mt_rng_below(rng, choices)));
  return 1;
}

/*** The generator's state.
@function Generator:state
@treturn integer seed
@treturn integer counter */
static int state(lua_State *L) { return push_state(L, check_generator(L)); }

/*** Puts the generator into a state that state() returned.
@function Generator:set_state
@tparam integer seed
@tparam integer counter
@treturn Generator itself */
static int set_state(lua_State *L) {
  check_state(L, 2, check_generator(L));
  lua_settop(L, 1);
  return 1;
}

/* "generator(seed = 7, counter = 12)" */
static int to_string(lua_State *L) {
  const mt_rng *rng = check_generator(L);
  lua_pushfstring(L, "generator(seed = %I, counter = %I)", (LUAI_UACINT)rng->seed, (LUAI_UACINT)rng->counter);
  return 1;
}

static const luaL_Reg functions[] = {
    {"manual_seed", manual_seed}, {"rng_state", rng_state}, {"set_rng_state", set_rng_state},
    {"generator", generator},     {"randperm", randperm},   {NULL, NULL},
};

static const luaL_Reg methods[] = {
    {"uniform", uniform}, {"normal", normal},       {"integer", integer}, {"permutation", permutation},
    {"state", state},     {"set_state", set_state}, {NULL, NULL},
};

static const luaL_Reg meta[] = {{"__tostring", to_string}, {NULL, NULL}};

void mtl_open_random(lua_State *L) {
  mtl_new_class(L, MTL_GENERATOR, methods, meta);
  luaL_setfuncs(L, functions, 0);
}
