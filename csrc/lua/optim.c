/* mt.optim.*: the optimiser userdata. */
#include "lua/binding.h"

#include <stdlib.h>
#include <string.h>

#include "optim/optimizer.h"

#define OPTIMIZER "masktune.Optimizer"
#define LARGEST_RATE 1e30

static mt_optimizer *check_optimizer(lua_State *L, int arg) {
  mt_optimizer *optimizer = *(mt_optimizer **)luaL_checkudata(L, arg, OPTIMIZER);
  if (!optimizer) luaL_argerror(L, arg, "the optimizer was already released");
  return optimizer;
}

static int collect_optimizer(lua_State *L) {
  mt_optimizer **place = luaL_checkudata(L, 1, OPTIMIZER);
  mt_optimizer_free(*place);
  *place = NULL;
  return 0;
}

/* ---- construction ---- */

/* The tensors of the list at 1, in a buffer left on the stack; the table keeps them alive. */
static mt_tensor **check_params(lua_State *L, int *count) {
  luaL_checktype(L, 1, LUA_TTABLE);
  const lua_Integer n = luaL_len(L, 1);
  if (n > 1 << 24) luaL_argerror(L, 1, "too many tensors");
  mt_tensor **params = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *params, 0);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_geti(L, 1, i);
    params[i - 1] = mtl_test_tensor(L, -1);
    if (!params[i - 1])
      luaL_argerror(L, 1,
                    lua_pushfstring(L, "params[%I]: tensor expected, got %s", (LUAI_UACINT)i, luaL_typename(L, -1)));
    lua_pop(L, 1);
  }
  *count = (int)n;
  return params;
}

static void free_optimizer(void *o) { mt_optimizer_free(o); }

static int push_optimizer(lua_State *L, mt_optimizer *o) {
  mtl_push_owner(L, o, free_optimizer, OPTIMIZER, 0);
  return 1;
}

static double required_rate(lua_State *L) {
  if (!mtl_has_option(L, 2, "lr")) luaL_argerror(L, 2, "option 'lr' is missing: the learning rate, a number >= 0");
  return mtl_option_number(L, 2, "lr", 0.0, 0.0, LARGEST_RATE);
}

/*** Stochastic gradient descent, PyTorch's update rule.
@function optim.sgd
@tparam table params tensors, as from `model:parameters()`
@tparam table options `lr`; `momentum` (0), `weight_decay` (0), `nesterov` (false)
@treturn Optimizer */
static int sgd(lua_State *L) {
  static const char *const known[] = {"lr", "momentum", "weight_decay", "nesterov", NULL};
  mt_sgd_options options;
  mt_optimizer *o;
  int count;
  luaL_checktype(L, 2, LUA_TTABLE);
  mtl_check_options(L, 2, known);
  options.lr = required_rate(L);
  options.momentum = mtl_option_number(L, 2, "momentum", 0.0, 0.0, LARGEST_RATE);
  options.weight_decay = mtl_option_number(L, 2, "weight_decay", 0.0, 0.0, LARGEST_RATE);
  options.nesterov = mtl_option_boolean(L, 2, "nesterov", false);
  mt_tensor **params = check_params(L, &count);
  MTL_NEW(L, o, mt_sgd_new(params, count, &options));
  return push_optimizer(L, o);
}

/* A number in [0, 1). */
static double check_beta(lua_State *L, int index) {
  const double beta = lua_tonumber(L, index);
  if (lua_type(L, index) != LUA_TNUMBER || !(beta >= 0.0 && beta < 1.0)) {
    lua_pushvalue(L, index);
    mtl_option_error(L, 2, "betas", "two numbers in [0, 1)");
  }
  return beta;
}

static void option_betas(lua_State *L, mt_adam_options *options) {
  options->beta1 = 0.9;
  options->beta2 = 0.999;
  if (!mtl_has_option(L, 2, "betas")) return;
  lua_getfield(L, 2, "betas");
  if (!lua_istable(L, -1) || luaL_len(L, -1) != 2) mtl_option_error(L, 2, "betas", "two numbers in [0, 1)");
  lua_geti(L, -1, 1);
  lua_geti(L, -2, 2);
  options->beta1 = check_beta(L, -2);
  options->beta2 = check_beta(L, -1);
  lua_pop(L, 3);
}

/*** Adam, PyTorch's update rule; weight decay is added to the gradient.
@function optim.adam
@tparam table params tensors
@tparam table options `lr`; `betas` ({0.9, 0.999}), `eps` (1e-8), `weight_decay` (0)
@treturn Optimizer */
static int adam(lua_State *L) {
  static const char *const known[] = {"lr", "betas", "eps", "weight_decay", NULL};
  mt_adam_options options;
  mt_optimizer *o;
  int count;
  luaL_checktype(L, 2, LUA_TTABLE);
  mtl_check_options(L, 2, known);
  options.lr = required_rate(L);
  options.eps = mtl_option_number(L, 2, "eps", 1e-8, 0.0, LARGEST_RATE);
  options.weight_decay = mtl_option_number(L, 2, "weight_decay", 0.0, 0.0, LARGEST_RATE);
  option_betas(L, &options);
  mt_tensor **params = check_params(L, &count);
  MTL_NEW(L, o, mt_adam_new(params, count, &options));
  return push_optimizer(L, o);
}

/* ---- methods ---- */

/*** Updates every parameter that has a gradient.
@function Optimizer:step */
static int step(lua_State *L) {
  MTL_DO(L, mt_optimizer_step(check_optimizer(L, 1)));
  return 0;
}

/*** Forgets the gradients of the parameters.
@function Optimizer:zero_grad */
static int zero_grad(lua_State *L) {
  mt_optimizer_zero_grad(check_optimizer(L, 1));
  return 0;
}

/*** The learning rate.
@function Optimizer:lr
@treturn number */
static int lr(lua_State *L) {
  lua_pushnumber(L, check_optimizer(L, 1)->lr);
  return 1;
}

/*** Changes the learning rate of the steps to come.
@function Optimizer:set_lr
@tparam number lr >= 0 */
static int set_lr(lua_State *L) {
  mt_optimizer *o = check_optimizer(L, 1);
  const double rate = mtl_check_number(L, 2);
  if (!(rate >= 0.0 && rate <= LARGEST_RATE))
    luaL_argerror(L, 2, lua_pushfstring(L, "learning rate >= 0 expected, got %f", rate));
  o->lr = rate;
  return 0;
}

static int tostring(lua_State *L) {
  const mt_optimizer *o = check_optimizer(L, 1);
  lua_pushfstring(L, "%s(lr %f, %d parameters)", o->cls->name, o->lr, o->count);
  return 1;
}

/* ---- state dicts: "momentum.3" belongs to the third parameter; "step.3" counts its steps ---- */

#define STEP MT_OPTIMIZER_STATES /* in the place of a state's number */

static const char *part_name(const mt_optimizer *o, int part) {
  if (part == STEP) return o->cls->counts_steps ? "step" : NULL;
  return o->cls->state_names[part];
}

static void put(lua_State *L, mt_tensor *t, const char *name, int param) {
  mtl_push_tensor(L, t);
  lua_pushfstring(L, "%s.%d", name, param + 1);
  lua_insert(L, -2);
  lua_rawset(L, -3);
}

static void put_part(lua_State *L, const mt_optimizer *o, int part, int param) {
  const char *name = part_name(o, part);
  mt_tensor *t;
  if (!name || !o->states[0][param]) return;
  if (part == STEP)
    MTL_NEW(L, t, mt_tensor_full(MT_INT32, 0, NULL, (double)o->steps[param]));
  else
    MTL_NEW(L, t, mt_tensor_copy(o->states[part][param]));
  put(L, t, name, param);
}

/*** What the next step depends on besides parameters and gradients: the number `lr`, and copies of the state
tensors: "momentum.i" (sgd), "exp_avg.i", "exp_avg_sq.i", "step.i" (adam), where i counts the parameters from 1.
Parameters that were never updated have none.
@function Optimizer:state_dict
@treturn table */
static int state_dict(lua_State *L) {
  const mt_optimizer *o = check_optimizer(L, 1);
  lua_newtable(L);
  lua_pushnumber(L, o->lr);
  lua_setfield(L, -2, "lr");
  for (int i = 0; i < o->count; i++)
    for (int part = 0; part <= STEP; part++) put_part(L, o, part, i);
  return 1;
}

/* "exp_avg_sq.12" as part and parameter; false when it is neither's name. */
static bool parse_name(const mt_optimizer *o, const char *key, int *part, int *param) {
  const char *dot = strrchr(key, '.');
  if (!dot || dot[1] < '1' || dot[1] > '9') return false;
  char *end;
  const long index = strtol(dot + 1, &end, 10);
  if (*end || index > o->count) return false;
  *param = (int)index - 1;
  for (*part = 0; *part <= STEP; ++*part) {
    const char *name = part_name(o, *part);
    if (name && strlen(name) == (size_t)(dot - key) && strncmp(name, key, strlen(name)) == 0) return true;
  }
  return false;
}

/* Checks the entry whose key and value are on top and marks its part as present. */
static void check_entry(lua_State *L, const mt_optimizer *o, unsigned char *parts_of) {
  int part, param;
  const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : luaL_typename(L, -2);
  if (lua_type(L, -2) == LUA_TSTRING && strcmp(key, "lr") == 0) {
    const double rate = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !(rate >= 0.0 && rate <= LARGEST_RATE))
      mtl_option_error(L, 2, "lr", "number >= 0");
    return;
  }
  if (lua_type(L, -2) != LUA_TSTRING || !parse_name(o, key, &part, &param))
    luaL_argerror(L, 2,
                  lua_pushfstring(L, "'%s' is no state of this %s over %d parameters", key, o->cls->name, o->count));
  mt_tensor *t = mtl_test_tensor(L, -1);
  if (!t) mtl_option_error(L, 2, key, "tensor");
  if (part == STEP) {
    MTL_DO(L, mt_expect_dtype(t, MT_INT32, o->cls->name, key));
    MTL_DO(L, mt_expect_ndim(t, 0, o->cls->name, key, "a scalar"));
    if (mt_i32(t)[0] < 1)
      luaL_argerror(L, 2, lua_pushfstring(L, "'%s' is %d, expected at least 1", key, (int)mt_i32(t)[0]));
  } else {
    MTL_DO(L, mt_optimizer_check_state(o, param, t, key));
  }
  parts_of[param] |= (unsigned char)(1 << part);
}

static void check_complete(lua_State *L, const mt_optimizer *o, const unsigned char *parts_of) {
  for (int i = 0; i < o->count; i++) {
    for (int part = 0; parts_of[i] && part <= STEP; part++) {
      if (part_name(o, part) && !(parts_of[i] & (1 << part)))
        luaL_argerror(L, 2, lua_pushfstring(L, "'%s.%d' is missing", part_name(o, part), i + 1));
    }
  }
}

static void load_entry(lua_State *L, mt_optimizer *o) {
  int part, param;
  const char *key = lua_tostring(L, -2);
  if (strcmp(key, "lr") == 0) {
    o->lr = lua_tonumber(L, -1);
  } else if (parse_name(o, key, &part, &param)) {
    mt_tensor *t = mtl_test_tensor(L, -1);
    if (part == STEP)
      o->steps[param] = mt_i32(t)[0];
    else
      MTL_DO(L, mt_optimizer_set_state(o, part, param, t));
  }
}

/*** Takes over what `state_dict` returned; a name, type or shape that does not fit is an error, and nothing is changed.
@function Optimizer:load_state_dict
@tparam table state */
static int load_state_dict(lua_State *L) {
  mt_optimizer *o = check_optimizer(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  unsigned char *parts_of = lua_newuserdatauv(L, (size_t)o->count, 0);
  memset(parts_of, 0, (size_t)o->count);
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) check_entry(L, o, parts_of);
  check_complete(L, o, parts_of);
  mt_optimizer_reset(o);
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) load_entry(L, o);
  return 0;
}

static const luaL_Reg methods[] = {
    {"step", step},     {"zero_grad", zero_grad},   {"lr", lr},
    {"set_lr", set_lr}, {"state_dict", state_dict}, {"load_state_dict", load_state_dict},
    {NULL, NULL},
};
static const luaL_Reg meta[] = {{"__gc", collect_optimizer}, {"__tostring", tostring}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"sgd", sgd}, {"adam", adam}, {NULL, NULL}};

void mtl_open_optim(lua_State *L) {
  mtl_new_class(L, OPTIMIZER, methods, meta);
  luaL_newlib(L, functions);
  lua_setfield(L, -2, "optim");
}
