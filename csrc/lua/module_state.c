/* Parameters, buffers, gradients and state dicts of a tree. State dicts are plain tables from PyTorch's names to
 * copies in file order; the order of names is the tree's, the module's own parameters and buffers first. */
#include <stdlib.h>
#include <string.h>

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

/* ---- from state dicts ---- */

/* The stack of load_state_dict. */
enum { MODULE = 1, DICT, OPTIONS, EXPECTED, MISSING, UNEXPECTED, MISMATCHED, REPORT };

/* Pops a value onto the end of a list. */
static void append_text(lua_State *L, int list) { lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1); }

static void append_mismatch(lua_State *L, const mt_tensor *got, const mt_slot *slot, const char *path) {
  int64_t shape[MT_MAX_DIMS];
  char got_text[MT_SHAPE_TEXT], wanted_text[MT_SHAPE_TEXT];
  const int ndim = mt_slot_file_shape(slot, shape);
  lua_pushfstring(L, "%s is %s %s, expected %s %s", path, mt_dtype_name(got->dtype),
                  mt_shape_text(got->ndim, got->shape, got_text), mt_dtype_name(slot->tensor->dtype),
                  mt_shape_text(ndim, shape, wanted_text));
  append_text(L, MISMATCHED);
}

static bool fits(const mt_slot *slot, const mt_tensor *values) {
  int64_t shape[MT_MAX_DIMS];
  const int ndim = mt_slot_file_shape(slot, shape);
  return values->dtype == slot->tensor->dtype && values->ndim == ndim &&
         memcmp(values->shape, shape, (size_t)ndim * sizeof shape[0]) == 0;
}

/* Published weights from before PyTorch counted batches lack the counter. */
static bool may_be_missing(const mt_slot *slot) { return strcmp(slot->name, "num_batches_tracked") == 0; }

static int compare_slot(mt_slot *slot, const char *path, void *context) {
  lua_State *L = context;
  lua_pushboolean(L, 1);
  lua_setfield(L, EXPECTED, path);
  if (lua_getfield(L, DICT, path) == LUA_TNIL) {
    if (!may_be_missing(slot)) {
      lua_pushstring(L, path);
      append_text(L, MISSING);
    }
  } else {
    const mt_tensor *values = mtl_test_tensor(L, -1);
    if (!values)
      luaL_argerror(L, DICT, lua_pushfstring(L, "'%s' is %s, expected a tensor", path, luaL_typename(L, -1)));
    if (!fits(slot, values)) append_mismatch(L, values, slot, path);
  }
  lua_pop(L, 1);
  return 0;
}

static int load_slot(mt_slot *slot, const char *path, void *context) {
  lua_State *L = context;
  lua_getfield(L, DICT, path);
  const mt_tensor *values = mtl_test_tensor(L, -1);
  lua_pop(L, 1); /* the table keeps it */
  return values && fits(slot, values) ? mt_slot_from_file_order(slot, values, path) : 0;
}

static void list_unexpected(lua_State *L) {
  for (lua_pushnil(L); lua_next(L, DICT); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING)
      luaL_argerror(L, DICT, lua_pushfstring(L, "a key is %s, expected names", luaL_typename(L, -2)));
    const bool expected = lua_getfield(L, EXPECTED, lua_tostring(L, -2)) != LUA_TNIL;
    lua_pop(L, 1);
    if (expected) continue;
    lua_pushvalue(L, -2);
    append_text(L, UNEXPECTED);
  }
}

static int compare_strings(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* By name, because a table's own order is none. */
static void sort_strings(lua_State *L, int list) {
  const size_t n = lua_rawlen(L, list);
  const char **items = lua_newuserdatauv(L, (n + 1) * sizeof *items, 0);
  lua_createtable(L, (int)n, 0); /* keeps the strings while the list is rewritten */
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, list, (lua_Integer)i + 1);
    items[i] = lua_tostring(L, -1);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  qsort(items, n, sizeof *items, compare_strings);
  for (size_t i = 0; i < n; i++) {
    lua_pushstring(L, items[i]);
    lua_rawseti(L, list, (lua_Integer)i + 1);
  }
  lua_pop(L, 2);
}

static void add_report(lua_State *L, luaL_Buffer *text, int list, const char *kind) {
  const lua_Integer n = (lua_Integer)lua_rawlen(L, list);
  for (lua_Integer i = 1; i <= n; i++) {
    luaL_addstring(text, i > 1 ? ", " : "\n  ");
    if (i == 1) luaL_addstring(text, kind);
    lua_rawgeti(L, list, i);
    luaL_addvalue(text);
  }
}

static int raise_report(lua_State *L) {
  luaL_Buffer text;
  mtl_push_place(L);
  luaL_buffinit(L, &text);
  luaL_addstring(&text, "load_state_dict: the names or shapes do not fit (nothing was loaded)");
  add_report(L, &text, MISSING, "missing: ");
  add_report(L, &text, UNEXPECTED, "unexpected: ");
  add_report(L, &text, MISMATCHED, "wrong shape or type: ");
  luaL_pushresult(&text);
  lua_concat(L, 2);
  return lua_error(L);
}

static void push_report(lua_State *L) {
  static const struct {
    const char *name;
    int list;
  } parts[] = {{"missing", MISSING}, {"unexpected", UNEXPECTED}, {"mismatched", MISMATCHED}};
  lua_createtable(L, 0, 3);
  for (int i = 0; i < 3; i++) {
    lua_pushvalue(L, parts[i].list);
    lua_setfield(L, REPORT, parts[i].name);
  }
}

/*** Takes over the values of a state dict. Whatever does not fit is named, all at once, and then nothing is
changed; with `strict = false` what fits is loaded.
@function Module:load_state_dict
@tparam table dict name -> tensor, convolution weights as O,I,kH,kW
@tparam[opt] table options `strict` (true)
@treturn table `missing`, `unexpected`, `mismatched`: lists of names (mismatched: with the shapes) */
static int load_state_dict(lua_State *L) {
  static const char *const known[] = {"strict", NULL};
  mt_module *m = mtl_check_tree(L, MODULE);
  luaL_checktype(L, DICT, LUA_TTABLE);
  mtl_check_options(L, OPTIONS, known);
  const bool strict = mtl_option_boolean(L, OPTIONS, "strict", true);
  lua_settop(L, OPTIONS);
  for (int i = EXPECTED; i <= MISMATCHED; i++) lua_newtable(L);
  MTL_DO(L, mt_module_walk_slots(m, compare_slot, L));
  list_unexpected(L);
  sort_strings(L, UNEXPECTED);
  if (strict && lua_rawlen(L, MISSING) + lua_rawlen(L, UNEXPECTED) + lua_rawlen(L, MISMATCHED) > 0)
    return raise_report(L);
  MTL_DO(L, mt_module_walk_slots(m, load_slot, L));
  push_report(L);
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
    {"load_state_dict", load_state_dict},
    {NULL, NULL},
};
