/* mt.optim.*: the optimiser userdata. */
#include "lua/optim.h"

#include <stddef.h>

#define OPTIMIZER "masktune.Optimizer"

mt_optimizer *mtl_check_optimizer(lua_State *L, int arg) {
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

/* ---- options: a class's own, described once and read from the options or from a group ---- */

#define MAX_OPTIONS 8

typedef struct {
  const char *name; /* NULL ends a list */
  enum { NUMBER, BOOLEAN, BETAS } kind;
  size_t offset; /* in the class's options; BETAS: of two doubles */
  double high;   /* numbers reach from 0 to here */
} option_rule;

/* Any class's options. */
typedef union {
  mt_sgd_options sgd;
  mt_adam_options adam;
} any_options;

typedef struct {
  const mt_optimizer_class *cls;
  const option_rule *rules; /* fewer than MAX_OPTIONS */
  any_options defaults;
} optimizer_kind;

static double *number_at(any_options *options, size_t offset) { return (double *)(void *)((char *)options + offset); }
static bool *boolean_at(any_options *options, size_t offset) { return (bool *)(void *)((char *)options + offset); }

/* Where the options being read stand: the whole table at argument 2, or a group inside argument 1. */
typedef struct {
  int table, arg;
  const char *prefix; /* of their names in messages: "" or "params[2]." */
} option_place;

/* Raises for the value on top. */
static void refuse(lua_State *L, const option_place *at, const char *name, const char *expected) {
  const char *path = lua_pushfstring(L, "%s%s", at->prefix, name);
  lua_pushvalue(L, -2);
  mtl_option_error(L, at->arg, path, expected);
}

/* Pushes the field; false (and nothing pushed) where it is missing. */
static bool push_field(lua_State *L, const option_place *at, const char *name) {
  if (lua_getfield(L, at->table, name) != LUA_TNIL) return true;
  lua_pop(L, 1);
  return false;
}

/* The number on top, popped. */
static double pop_number(lua_State *L, const option_place *at, const char *name, double high) {
  const double value = lua_tonumber(L, -1);
  if (lua_type(L, -1) != LUA_TNUMBER || !(value >= 0.0 && value <= high)) {
    const char *expected = lua_pushfstring(L, "number in [%f, %f]", 0.0, high);
    lua_pushvalue(L, -2);
    refuse(L, at, name, expected);
  }
  lua_pop(L, 1);
  return value;
}

/* The two numbers of the table on top, popped. */
static void pop_betas(lua_State *L, const option_place *at, const char *name, double betas[2]) {
  static const char *const expected = "two numbers in [0, 1)";
  if (!lua_istable(L, -1) || luaL_len(L, -1) != 2) refuse(L, at, name, expected);
  for (int i = 0; i < 2; i++) {
    lua_geti(L, -1, i + 1);
    betas[i] = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !(betas[i] >= 0.0 && betas[i] < 1.0)) refuse(L, at, name, expected);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* Takes over those options that are there. */
static void read_options(lua_State *L, const option_place *at, const option_rule *rule, any_options *options) {
  for (; rule->name; rule++) {
    if (!push_field(L, at, rule->name)) continue;
    if (rule->kind == NUMBER) {
      *number_at(options, rule->offset) = pop_number(L, at, rule->name, rule->high);
    } else if (rule->kind == BETAS) {
      pop_betas(L, at, rule->name, number_at(options, rule->offset));
    } else {
      if (!lua_isboolean(L, -1)) refuse(L, at, rule->name, "boolean");
      *boolean_at(options, rule->offset) = lua_toboolean(L, -1);
      lua_pop(L, 1);
    }
  }
}

/* The names that a table of options may have: lr, the rules', and `more` (or NULL). */
static void list_names(const option_rule *rule, const char *more, const char *names[MAX_OPTIONS + 3]) {
  int n = 0;
  if (more) names[n++] = more;
  names[n++] = "lr";
  for (; rule->name; rule++) names[n++] = rule->name;
  names[n] = NULL;
}

/* ---- construction ---- */

mt_tensor **mtl_check_tensor_list(lua_State *L, int list, const char *where, int *count) {
  const lua_Integer n = luaL_len(L, list);
  if (n < 0 || n > 1 << 24) luaL_argerror(L, 1, "too many tensors");
  mt_tensor **tensors = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *tensors, 0);
  lua_createtable(L, (int)n, 0); /* the list may make its members up as it is read */
  for (lua_Integer i = 1; i <= n; i++) {
    lua_geti(L, list, i);
    tensors[i - 1] = mtl_test_tensor(L, -1);
    if (!tensors[i - 1])
      luaL_argerror(L, 1,
                    lua_pushfstring(L, "%s[%I]: tensor expected, got %s", where, (LUAI_UACINT)i, luaL_typename(L, -1)));
    lua_rawseti(L, -2, i);
  }
  *count = (int)n;
  return tensors;
}

static void add_plain_list(lua_State *L, mt_optimizer *o, const any_options *options) {
  int count;
  mt_tensor **params = mtl_check_tensor_list(L, 1, "params", &count);
  MTL_DO(L, mt_optimizer_add_group(o, params, count, -1.0, options, "params"));
}

/* The group on top of the stack, number i; popped. */
static void add_group(lua_State *L, mt_optimizer *o, const optimizer_kind *kind, any_options options, lua_Integer i) {
  const char *names[MAX_OPTIONS + 3];
  const int group = lua_gettop(L);
  if (!lua_istable(L, group))
    luaL_argerror(
        L, 1,
        lua_pushfstring(L, "params[%I]: table with params expected, got %s", (LUAI_UACINT)i, luaL_typename(L, group)));
  list_names(kind->rules, "params", names);
  mtl_check_fields(L, group, 1, lua_pushfstring(L, "params[%I]: ", (LUAI_UACINT)i), names);
  const option_place at = {group, 1, lua_pushfstring(L, "params[%I].", (LUAI_UACINT)i)};
  read_options(L, &at, kind->rules, &options);
  const double own_lr = push_field(L, &at, "lr") ? pop_number(L, &at, "lr", MTL_LARGEST_RATE) : -1.0;
  const char *where = lua_pushfstring(L, "params[%I].params", (LUAI_UACINT)i);
  if (lua_getfield(L, group, "params") != LUA_TTABLE) refuse(L, &at, "params", "table of tensors");
  int count;
  mt_tensor **params = mtl_check_tensor_list(L, lua_gettop(L), where, &count);
  MTL_DO(L, mt_optimizer_add_group(o, params, count, own_lr, &options, where));
  lua_settop(L, group - 1);
}

static void add_groups(lua_State *L, mt_optimizer *o, const optimizer_kind *kind, const any_options *options) {
  const lua_Integer n = luaL_len(L, 1);
  if (n > 1 << 16) luaL_argerror(L, 1, "too many groups");
  for (lua_Integer i = 1; i <= n; i++) {
    lua_geti(L, 1, i);
    add_group(L, o, kind, *options, i);
  }
}

static int make(lua_State *L, const optimizer_kind *kind) {
  const char *names[MAX_OPTIONS + 3];
  const option_place at = {2, 2, ""};
  any_options options = kind->defaults;
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  list_names(kind->rules, NULL, names);
  mtl_check_options(L, 2, names);
  if (!push_field(L, &at, "lr")) luaL_argerror(L, 2, "option 'lr' is missing: the learning rate, a number >= 0");
  const double lr = pop_number(L, &at, "lr", MTL_LARGEST_RATE);
  read_options(L, &at, kind->rules, &options);
  mt_optimizer **place = lua_newuserdatauv(L, sizeof *place, 0);
  *place = NULL;
  luaL_setmetatable(L, OPTIMIZER);
  MTL_NEW(L, *place, mt_optimizer_new(kind->cls, lr));
  const bool grouped = lua_geti(L, 1, 1) == LUA_TTABLE;
  lua_pop(L, 1);
  if (grouped)
    add_groups(L, *place, kind, &options);
  else
    add_plain_list(L, *place, &options);
  lua_settop(L, 3);
  return 1;
}

/*** Optimisers: PyTorch's update rules, to rounding.
@module optim */

/*** Stochastic gradient descent, PyTorch's update rule.

Parameters are a plain list, or groups with options of their own, each a table
`{params = {...}, lr =, weight_decay =, ...}`; what a group leaves out it takes from `options`. Frozen parameters (those
that do not require gradients, now or later) and parameters without a gradient are skipped wholly: no decay, no
momentum.
@function optim.sgd
@tparam table params tensors, as from `model:parameters()`, or groups
@tparam table options `lr`; `momentum` (0), `dampening` (0), `weight_decay` (0), `nesterov` (false; needs momentum, and
no dampening), `maximize` (false)
@treturn Optimizer
@usage local opt = mt.optim.sgd({ { params = model.backbone:parameters(), lr = 1e-3 },
                                  { params = model.fc:parameters() } }, { lr = 0.01, momentum = 0.9 }) */
static int sgd(lua_State *L) {
  static const option_rule rules[] = {
      {"momentum", NUMBER, offsetof(mt_sgd_options, momentum), MTL_LARGEST_RATE},
      {"weight_decay", NUMBER, offsetof(mt_sgd_options, weight_decay), MTL_LARGEST_RATE},
      {"dampening", NUMBER, offsetof(mt_sgd_options, dampening), 1.0},
      {"nesterov", BOOLEAN, offsetof(mt_sgd_options, nesterov), 0},
      {"maximize", BOOLEAN, offsetof(mt_sgd_options, maximize), 0},
      {NULL, NUMBER, 0, 0},
  };
  static const optimizer_kind kind = {&mt_sgd_class, rules, {.sgd = {0}}};
  return make(L, &kind);
}

static const option_rule adam_rules[] = {
    {"betas", BETAS, offsetof(mt_adam_options, beta1), 0},
    {"eps", NUMBER, offsetof(mt_adam_options, eps), MTL_LARGEST_RATE},
    {"weight_decay", NUMBER, offsetof(mt_adam_options, weight_decay), MTL_LARGEST_RATE},
    {"amsgrad", BOOLEAN, offsetof(mt_adam_options, amsgrad), 0},
    {"maximize", BOOLEAN, offsetof(mt_adam_options, maximize), 0},
    {NULL, NUMBER, 0, 0},
};

/*** Adam, PyTorch's update rule; weight decay is added to the gradient.
@function optim.adam
@tparam table params tensors, or groups, as for `optim.sgd`
@tparam table options `lr`; `betas` ({0.9, 0.999}), `eps` (1e-8), `weight_decay` (0), `amsgrad` (false), `maximize`
(false)
@treturn Optimizer */
static int adam(lua_State *L) {
  static const optimizer_kind kind = {
      &mt_adam_class, adam_rules, {.adam = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}}};
  return make(L, &kind);
}

/*** AdamW, PyTorch's update rule: weight decay shrinks the parameters by `lr * weight_decay`, apart from the gradient.
@function optim.adamw
@tparam table params tensors, or groups, as for `optim.sgd`
@tparam table options `lr`; `betas` ({0.9, 0.999}), `eps` (1e-8), `weight_decay` (0.01), `amsgrad` (false), `maximize`
(false)
@treturn Optimizer */
static int adamw(lua_State *L) {
  static const optimizer_kind kind = {
      &mt_adamw_class, adam_rules, {.adam = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01}}};
  return make(L, &kind);
}

/* ---- methods ---- */

/*** Updates every parameter that has a gradient and is not frozen.
@function Optimizer:step */
static int step(lua_State *L) {
  MTL_DO(L, mt_optimizer_step(mtl_check_optimizer(L, 1)));
  return 0;
}

/*** Forgets the gradients of the parameters.
@function Optimizer:zero_grad */
static int zero_grad(lua_State *L) {
  mt_optimizer_zero_grad(mtl_check_optimizer(L, 1));
  return 0;
}

/*** The learning rate, or the one that a group has now.
@function Optimizer:lr
@tparam[opt] integer group 1 for the first
@treturn number */
static int lr(lua_State *L) {
  const mt_optimizer *o = mtl_check_optimizer(L, 1);
  lua_pushnumber(L, lua_isnoneornil(L, 2) ? o->lr : o->groups[mtl_check_integer(L, 2, 1, o->n_groups) - 1].lr);
  return 1;
}

/*** Changes the learning rate of the steps to come. A group with a rate of its own keeps its ratio to the one that the
optimiser was made with: where that was 0.1 and the group has 0.01, `set_lr(0.05)` gives the group 0.005.
@function Optimizer:set_lr
@tparam number lr >= 0 */
static int set_lr(lua_State *L) {
  mt_optimizer *o = mtl_check_optimizer(L, 1);
  const double rate = mtl_check_number(L, 2);
  if (!(rate >= 0.0 && rate <= MTL_LARGEST_RATE))
    luaL_argerror(L, 2, lua_pushfstring(L, "learning rate >= 0 expected, got %f", rate));
  mt_optimizer_set_lr(o, rate);
  return 0;
}

static int tostring(lua_State *L) {
  const mt_optimizer *o = mtl_check_optimizer(L, 1);
  lua_pushfstring(L, "%s(lr %f, %d parameters", o->cls->name, o->lr, o->count);
  if (o->n_groups > 1)
    lua_pushfstring(L, " in %d groups)", o->n_groups);
  else
    lua_pushliteral(L, ")");
  lua_concat(L, 2);
  return 1;
}

static const luaL_Reg methods[] = {
    {"step", step}, {"zero_grad", zero_grad}, {"lr", lr}, {"set_lr", set_lr}, {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", collect_optimizer}, {"__tostring", tostring}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"sgd", sgd}, {"adam", adam}, {"adamw", adamw}, {NULL, NULL}};

void mtl_open_optim(lua_State *L) {
  mtl_new_class(L, OPTIMIZER, methods, meta);
  luaL_getmetatable(L, OPTIMIZER);
  lua_getfield(L, -1, "__index");
  luaL_setfuncs(L, mtl_optimizer_state_methods, 0);
  lua_pop(L, 2);
  luaL_newlib(L, functions);
  luaL_setfuncs(L, mtl_clip_functions, 0);
  lua_setfield(L, -2, "optim");
}
