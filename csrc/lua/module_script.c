/* Modules written in Lua: mt.nn.Module{conv = ..., scale = ..., forward = function(self, x) ... end}.
 *
 * Module-valued fields become children, tensor-valued ones parameters, tables of them containers (module_table.c);
 * everything else stays in the userdata's own table, which also holds the forward function, so that a cycle through
 * its upvalues is one that Lua's collector sees.
 *
 * A script that calls a module runs its forward right here, with all its arguments and results. The core, which runs
 * what stands in containers, calls forward through this class like any other: one tensor in, one tensor out. */
#include <string.h>

#include "lua/module.h"
#include "nn/layers.h"

/* ---- running ---- */

/* Stack: the module, arguments -> results. */
static int call_forward(lua_State *L) {
  if (!mtl_push_field(L, 1, "forward")) return luaL_error(L, "Module: no forward function");
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  if (lua_gettop(L) == 0 || !mtl_test_tensor(L, 1))
    return luaL_error(L, "Module: forward returned %s, expected a tensor",
                      lua_gettop(L) == 0 ? "nothing" : luaL_typename(L, 1));
  return lua_gettop(L);
}

int mtl_call_script(lua_State *L, mt_module *m) {
  luaL_checkstack(L, 8, "a module's forward");
  const int results = call_forward(L);
  mt_tensor *returned = mtl_check_tensor(L, 1), *output;
  MTL_NEW(L, output, mt_module_finish(m, mt_retain(returned)));
  if (output == returned) {
    mt_release(output);
  } else { /* somebody looks at the output, and it goes on as another tensor */
    mtl_push_tensor(L, output);
    lua_replace(L, 1);
  }
  return results;
}

/* Stack: self, input as light userdata -> output. Everything that can raise happens in here. */
static int protected_forward(lua_State *L) {
  mt_module *self = lua_touserdata(L, 1);
  mt_tensor *input = lua_touserdata(L, 2);
  lua_settop(L, 0);
  mtl_push_known_module(L, self);
  mtl_push_tensor(L, mt_retain(input));
  const int results = call_forward(L);
  if (results > 1)
    return luaL_error(L, "Module: forward returned %d values, expected one tensor where it stands in a container",
                      results);
  return 1;
}

/* The error value waits in the registry, so that whoever raises it again raises it unchanged: every level of nesting
 * would otherwise add a position to the text, and values that are no strings would be lost. The box is made once with
 * room for both entries, because filling it happens where nothing may raise. */
static const char error_box; /* its address */
enum { ERROR_VALUE = 1, ERROR_WAITS };

static void push_error_box(lua_State *L) { lua_rawgetp(L, LUA_REGISTRYINDEX, &error_box); }

void mtl_forget_script_error(lua_State *L) {
  push_error_box(L);
  lua_pushnil(L);
  lua_rawseti(L, -2, ERROR_VALUE);
  lua_pushboolean(L, 0);
  lua_rawseti(L, -2, ERROR_WAITS);
  lua_pop(L, 1);
}

void mtl_raise_script_error(lua_State *L) {
  push_error_box(L);
  lua_rawgeti(L, -1, ERROR_VALUE);
  lua_rawgeti(L, -2, ERROR_WAITS);
  const bool waits = lua_toboolean(L, -1);
  lua_pop(L, 1);
  if (waits) lua_error(L);
  lua_pop(L, 2);
}

static void fail_with_error_on_top(lua_State *L, int status) {
  const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
  if (message)
    mt_fail_message(status == LUA_ERRMEM ? MT_ERROR_MEMORY : MT_ERROR_ARGUMENT, message);
  else
    mt_fail(MT_ERROR_ARGUMENT, "Module: forward raised a %s", luaL_typename(L, -1));
  push_error_box(L);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, ERROR_VALUE);
  lua_pushboolean(L, 1);
  lua_rawseti(L, -2, ERROR_WAITS);
  lua_pop(L, 1);
}

void mtl_open_script_module(lua_State *L) {
  lua_createtable(L, 2, 0);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &error_box);
  mtl_forget_script_error(L);
}

/* The state's main thread runs it, whichever coroutine called: it outlives them all. */
static mt_tensor *forward(mt_module *self, mt_tensor *input) {
  lua_State *L = *(lua_State **)self->state;
  if (!lua_checkstack(L, 8)) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: no room on the Lua stack");
  lua_pushcfunction(L, protected_forward);
  lua_pushlightuserdata(L, self);
  lua_pushlightuserdata(L, input);
  const int status = lua_pcall(L, 2, 1, 0);
  mt_tensor *output = NULL;
  if (status == LUA_OK)
    output = mt_retain(mtl_test_tensor(L, -1));
  else
    fail_with_error_on_top(L, status);
  lua_pop(L, 1);
  return output;
}

static const mt_module_class script_class = {.name = "Module", .forward = forward};

bool mtl_is_script(const mt_module *m) { return m->cls == &script_class; }
bool mtl_takes_fields(const mt_module *m) { return mtl_is_script(m) || mt_is_container(m); }

/* ---- fields ---- */

static int assign_parameter(lua_State *L, mt_module *m, const char *name) {
  mt_tensor *t = mtl_check_tensor(L, 3);
  if (t->dtype != MT_FLOAT32)
    return luaL_error(L, "%s: parameter '%s' is %s, expected float32", m->cls->name, name, mt_dtype_name(t->dtype));
  if (t->node)
    return luaL_error(L, "%s: parameter '%s' is the result of an operation, expected a leaf", m->cls->name, name);
  MTL_DO(L, mt_module_add_slot(m, name, mt_retain(t), MT_LAYOUT_SAME, false));
  return 0;
}

int mtl_assign_script(lua_State *L, mt_module *m, const char *name) {
  const bool is_module = mtl_test_module(L, 3) != NULL, is_tensor = mtl_test_tensor(L, 3) != NULL;
  if (strcmp(name, "forward") == 0 && !lua_isfunction(L, 3))
    return luaL_error(L, "Module: forward is %s, expected a function", luaL_typename(L, 3));
  if (is_module)
    mtl_add_child(L, 1, name, 3);
  else if (is_tensor)
    assign_parameter(L, m, name);
  if (is_module || is_tensor)
    lua_pushnil(L); /* whatever the field held before */
  else
    lua_pushvalue(L, 3);
  mtl_set_field(L, 1, name);
  return 0;
}

/* ---- construction ---- */

/*** A module written in Lua. Fields that are modules become children (sorted by name; items 1, 2, ... are called "0",
"1", ...), tensors parameters, and tables of modules or tensors, at any depth, containers with PyTorch's names:
`layers = {a, b}` gives "layers.0" and "layers.1", `blocks = {stem = a}` "blocks.stem" (see nn.ModuleList,
nn.ModuleDict, nn.ParameterList). The same goes for fields assigned later, and for modules put later into a table that
is a field. Other values stay readable as fields.

`module(...)` and `module:forward(...)` call `forward` with all arguments, tensors or not, and give all its results, of
which the first must be a tensor; inside a Sequential it gets one tensor and gives one. `forward` should reach its
layers through `self`: a copy (Module:clone, and whatever copies a net) has layers of its own, but the same function.
Where a forward, or a function it uses, reaches modules or parameters as outer locals or globals, clone raises an error
that names them.
@function nn.Module
@tparam table fields with `forward = function(self, input, ...) ... return output end`
@treturn Module */
int mtl_script_module(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  if (lua_getfield(L, 1, "forward") != LUA_TFUNCTION)
    return luaL_error(L, "Module: forward is %s, expected a function", luaL_typename(L, -1));
  lua_settop(L, 1);
  mt_module *m;
  MTL_NEW(L, m, mt_module_new(&script_class, sizeof(lua_State *)));
  m->grows = true;
  mtl_push_module(L, m);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  *(lua_State **)m->state = lua_tothread(L, -1);
  lua_pop(L, 1);
  mtl_fill_from_table(L, 1, 2, "Module");
  return 1;
}
