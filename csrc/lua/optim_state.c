/* State dicts of optimisers: "momentum.3" belongs to the third parameter, groups one after the other; "step.3" counts
 * its steps; "groups" says how many parameters each group has, where there are several. */
#include "lua/optim.h"

#include <stdlib.h>
#include <string.h>

#define STEP MT_OPTIMIZER_STATES /* in the place of a state's number */

/* NULL where the parameter has no such part. */
static const char *part_name(const mt_optimizer *o, int part, int param) {
  if (part == STEP) return o->cls->counts_steps ? "step" : NULL;
  return part < o->groups[o->group_of[param]].n_states ? o->cls->state_names[part] : NULL;
}

/* ---- to a table ---- */

static void put_part(lua_State *L, const mt_optimizer *o, int part, int param) {
  const char *name = part_name(o, part, param);
  mt_tensor *t;
  if (!name) return;
  if (part == STEP)
    MTL_NEW(L, t, mt_tensor_full(MT_INT32, 0, NULL, (double)o->steps[param]));
  else
    MTL_NEW(L, t, mt_tensor_copy(o->states[part][param]));
  mtl_push_tensor(L, t);
  lua_pushfstring(L, "%s.%d", name, param + 1);
  lua_insert(L, -2);
  lua_rawset(L, -3);
}

/* int32 {n_groups}: how many parameters each has. */
static mt_tensor *group_sizes(const mt_optimizer *o) {
  const int64_t n = o->n_groups;
  mt_tensor *sizes = mt_tensor_zeros(MT_INT32, 1, &n);
  for (int i = 0; sizes && i < o->count; i++) mt_i32(sizes)[o->group_of[i]]++;
  return sizes;
}

/*** Optimisers, as from mt.optim.
@classmod Optimizer */

/*** What the next step depends on besides parameters, gradients and options: the number `lr`, and copies of the state
tensors: "momentum.i" (sgd), "exp_avg.i", "exp_avg_sq.i", "max_exp_avg_sq.i", "step.i" (adam, adamw), where i counts the
parameters from 1, over all groups; with several groups also "groups", how many parameters each has. Parameters that
were never updated have none.
@function Optimizer:state_dict
@treturn table */
static int state_dict(lua_State *L) {
  const mt_optimizer *o = mtl_check_optimizer(L, 1);
  lua_newtable(L);
  lua_pushnumber(L, o->lr);
  lua_setfield(L, -2, "lr");
  if (o->n_groups > 1) {
    mt_tensor *sizes;
    MTL_NEW(L, sizes, group_sizes(o));
    mtl_push_tensor(L, sizes);
    lua_setfield(L, -2, "groups");
  }
  for (int i = 0; i < o->count; i++)
    for (int part = 0; o->steps[i] > 0 && part <= STEP; part++) put_part(L, o, part, i);
  return 1;
}

/* ---- from a table ---- */

/* "exp_avg_sq.12" as part and parameter; false when it is neither's name. */
static bool parse_name(const mt_optimizer *o, const char *key, int *part, int *param) {
  const char *dot = strrchr(key, '.');
  if (!dot || dot[1] < '1' || dot[1] > '9') return false;
  char *end;
  const long index = strtol(dot + 1, &end, 10);
  if (*end || index > o->count) return false;
  *param = (int)index - 1;
  for (*part = 0; *part <= STEP; ++*part) {
    const char *name = part_name(o, *part, *param);
    if (name && strlen(name) == (size_t)(dot - key) && strncmp(name, key, strlen(name)) == 0) return true;
  }
  return false;
}

static void check_rate(lua_State *L) {
  const double rate = lua_tonumber(L, -1);
  if (lua_type(L, -1) != LUA_TNUMBER || !(rate >= 0.0 && rate <= MTL_LARGEST_RATE))
    mtl_option_error(L, 2, "lr", "number >= 0");
}

static void check_groups(lua_State *L, const mt_optimizer *o) {
  const mt_tensor *saved = mtl_test_tensor(L, -1);
  mt_tensor *own;
  if (!saved) mtl_option_error(L, 2, "groups", "tensor");
  MTL_NEW(L, own, group_sizes(o));
  mtl_push_tensor(L, own);
  MTL_DO(L, mt_expect_dtype(saved, MT_INT32, o->cls->name, "groups"));
  MTL_DO(L, mt_expect_shape(saved, 1, own->shape, o->cls->name, "groups"));
  for (int g = 0; g < o->n_groups; g++)
    if (mt_i32(saved)[g] != mt_i32(own)[g])
      luaL_argerror(L, 2,
                    lua_pushfstring(L, "group %d of the state has %d parameters, expected %d", g + 1,
                                    (int)mt_i32(saved)[g], (int)mt_i32(own)[g]));
  lua_pop(L, 1);
}

static void check_part(lua_State *L, const mt_optimizer *o, const char *key, int part, int param) {
  const mt_tensor *t = mtl_test_tensor(L, -1);
  if (!t) mtl_option_error(L, 2, key, "tensor");
  if (part != STEP) {
    MTL_DO(L, mt_optimizer_check_state(o, param, t, key));
    return;
  }
  MTL_DO(L, mt_expect_dtype(t, MT_INT32, o->cls->name, key));
  MTL_DO(L, mt_expect_ndim(t, 0, o->cls->name, key, "a scalar"));
  if (mt_i32(t)[0] < 1)
    luaL_argerror(L, 2, lua_pushfstring(L, "'%s' is %d, expected at least 1", key, (int)mt_i32(t)[0]));
}

/* Checks the entry whose key and value are on top and marks its part as present. */
static void check_entry(lua_State *L, const mt_optimizer *o, unsigned char *parts_of) {
  int part, param;
  const bool named = lua_type(L, -2) == LUA_TSTRING;
  const char *key = named ? lua_tostring(L, -2) : luaL_typename(L, -2);
  if (named && strcmp(key, "lr") == 0) {
    check_rate(L);
  } else if (named && strcmp(key, "groups") == 0) {
    check_groups(L, o);
  } else if (named && parse_name(o, key, &part, &param)) {
    check_part(L, o, key, part, param);
    parts_of[param] |= (unsigned char)(1 << part);
  } else {
    luaL_argerror(L, 2,
                  lua_pushfstring(L, "'%s' is no state of this %s over %d parameters", key, o->cls->name, o->count));
  }
}

static void check_complete(lua_State *L, const mt_optimizer *o, const unsigned char *parts_of) {
  for (int i = 0; i < o->count; i++) {
    for (int part = 0; parts_of[i] && part <= STEP; part++) {
      const char *name = part_name(o, part, i);
      if (name && !(parts_of[i] & (1 << part)))
        luaL_argerror(L, 2, lua_pushfstring(L, "'%s.%d' is missing", name, i + 1));
    }
  }
}

/* Copies the tensor on top into the table at `copies`, under the key below it. */
static void copy_entry(lua_State *L, int copies) {
  mt_tensor *copy;
  if (!mtl_test_tensor(L, -1)) return;
  MTL_NEW(L, copy, mt_tensor_copy(mtl_test_tensor(L, -1)));
  lua_pushvalue(L, -2);
  mtl_push_tensor(L, copy);
  lua_rawset(L, copies);
}

static void take_entry(lua_State *L, mt_optimizer *o) {
  int part, param;
  mt_tensor *t = mtl_test_tensor(L, -1);
  if (!parse_name(o, lua_tostring(L, -2), &part, &param)) return;
  if (part == STEP)
    o->steps[param] = mt_i32(t)[0];
  else
    mt_optimizer_take_state(o, part, param, mt_retain(t));
}

/*** Takes over what `state_dict` returned; a name, type or shape that does not fit is an error, and nothing is changed.
A state without "groups" (of a plain list of parameters) fits groups that hold the same parameters in the same order.
@function Optimizer:load_state_dict
@tparam table state */
static int load_state_dict(lua_State *L) {
  mt_optimizer *o = mtl_check_optimizer(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  unsigned char *parts_of = lua_newuserdatauv(L, (size_t)o->count, 0);
  memset(parts_of, 0, (size_t)o->count);
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) check_entry(L, o, parts_of);
  check_complete(L, o, parts_of);
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) copy_entry(L, 4);
  lua_getfield(L, 2, "lr");
  /* From here on nothing can fail. */
  if (!lua_isnil(L, -1)) mt_optimizer_set_lr(o, lua_tonumber(L, -1));
  mt_optimizer_reset(o);
  for (lua_pushnil(L); lua_next(L, 4); lua_pop(L, 1)) take_entry(L, o);
  return 0;
}

const luaL_Reg mtl_optimizer_state_methods[] = {
    {"state_dict", state_dict}, {"load_state_dict", load_state_dict}, {NULL, NULL}};
