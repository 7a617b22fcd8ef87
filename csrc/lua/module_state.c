/* Parameters, buffers, gradients and state dicts of a tree. State dicts are plain tables from PyTorch's names to
 * copies in file order; the order of names is the tree's, the module's own parameters and buffers first. */
#include "lua/module.h"

/* ---- walking the slots into a table ---- */

typedef struct {
  lua_State *L;
  int result;      /* the table that is filled */
  int seen;        /* tensors met so far: lists name a shared one once */
  bool parameters; /* or buffers */
} slot_visit;

static bool met_before(const slot_visit *v, mt_tensor *t) {
  const bool met = lua_rawgetp(v->L, v->seen, t) != LUA_TNIL;
  lua_pop(v->L, 1);
  lua_pushboolean(v->L, 1);
  lua_rawsetp(v->L, v->seen, t);
  return met;
}

static int append_named(mt_slot *slot, const char *path, void *context) {
  slot_visit *v = context;
  if (slot->is_buffer == v->parameters || met_before(v, slot->tensor)) return 0;
  mtl_push_tensor(v->L, mt_retain(slot->tensor));
  mtl_append_pair(v->L, v->result, path);
  return 0;
}

static int append_tensor(mt_slot *slot, const char *path, void *context) {
  slot_visit *v = context;
  (void)path;
  if (slot->is_buffer == v->parameters || met_before(v, slot->tensor)) return 0;
  mtl_push_tensor(v->L, mt_retain(slot->tensor));
  lua_rawseti(v->L, v->result, (lua_Integer)lua_rawlen(v->L, v->result) + 1);
  return 0;
}

/* Leaves the filled table on top, which is index 3. */
static void collect_slots(lua_State *L, int (*visit)(mt_slot *, const char *, void *), bool parameters) {
  mt_module *m = mtl_check_tree(L, 1);
  lua_settop(L, 1);
  lua_newtable(L);
  lua_newtable(L);
  slot_visit v = {.L = L, .result = 3, .seen = 2, .parameters = parameters};
  MTL_DO(L, mt_module_walk_slots(m, visit, &v));
}

/*** The parameters in the tree's order, each once, as the optimisers take them. Convolution weights are in memory
order {kH,kW,I,O}.
@function Module:parameters
@treturn table of tensors */
static int parameters(lua_State *L) {
  collect_slots(L, append_tensor, true);
  return 1;
}

/*** The buffers (running statistics) in the tree's order, each once.
@function Module:buffers
@treturn table of tensors */
static int buffers(lua_State *L) {
  collect_slots(L, append_tensor, false);
  return 1;
}

/*** `for name, parameter in m:named_parameters() do`
@function Module:named_parameters */
static int named_parameters(lua_State *L) {
  collect_slots(L, append_named, true);
  return mtl_return_pairs(L);
}

/*** `for name, buffer in m:named_buffers() do`
@function Module:named_buffers */
static int named_buffers(lua_State *L) {
  collect_slots(L, append_named, false);
  return mtl_return_pairs(L);
}

/*** How many numbers the parameters have, shared ones counted once.
@function Module:num_parameters
@treturn integer */
static int num_parameters(lua_State *L) {
  collect_slots(L, append_tensor, true);
  lua_Integer total = 0;
  for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, -1); i <= n; i++) {
    lua_rawgeti(L, -1, i);
    total += mtl_check_tensor(L, -1)->count;
    lua_pop(L, 1);
  }
  lua_pushinteger(L, total);
  return 1;
}

static int drop_gradient(mt_slot *slot, const char *path, void *context) {
  (void)path;
  (void)context;
  mt_release(slot->tensor->grad);
  slot->tensor->grad = NULL;
  return 0;
}

/*** Forgets the gradients of every parameter.
@function Module:zero_grad */
static int zero_grad(lua_State *L) {
  MTL_DO(L, mt_module_walk_slots(mtl_check_tree(L, 1), drop_gradient, NULL));
  return 0;
}

/* ---- to state dicts ---- */

static int put_values(mt_slot *slot, const char *path, void *context) {
  slot_visit *v = context;
  mt_tensor *copy;
  MTL_NEW(v->L, copy, mt_slot_to_file_order(slot, slot->tensor));
  mtl_push_tensor(v->L, copy);
  lua_setfield(v->L, v->result, path);
  return 0;
}

static int put_gradient(mt_slot *slot, const char *path, void *context) {
  slot_visit *v = context;
  mt_tensor *copy;
  if (!slot->tensor->grad) return 0;
  MTL_NEW(v->L, copy, mt_slot_to_file_order(slot, slot->tensor->grad));
  mtl_push_tensor(v->L, copy);
  lua_setfield(v->L, v->result, path);
  return 0;
}

/*** Copies of all parameters and buffers under PyTorch's names; convolution weights as O,I,kH,kW.
@function Module:state_dict
@treturn table name -> tensor */
static int state_dict(lua_State *L) {
  collect_slots(L, put_values, true);
  return 1;
}

/*** The gradients under the same names and in the same layout; parameters without one are left out.
@function Module:grad_dict
@treturn table name -> tensor */
static int grad_dict(lua_State *L) {
  collect_slots(L, put_gradient, true);
  return 1;
}

const luaL_Reg mtl_module_state_methods[] = {
    {"parameters", parameters},
    {"buffers", buffers},
    {"named_parameters", named_parameters},
    {"named_buffers", named_buffers},
    {"num_parameters", num_parameters},
    {"zero_grad", zero_grad},
    {"state_dict", state_dict},
    {"grad_dict", grad_dict},
    {"load_state_dict", mtl_load_state_dict},
    {NULL, NULL},
};
