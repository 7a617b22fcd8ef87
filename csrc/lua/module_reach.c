/* What the functions of a net reach other than through their self.
 *
 * A copy of a net has modules of its own, but the same Lua functions. One that reaches a module (or a parameter) as an
 * outer local or a global would run the original's weights in the copy, without a word; so copying looks for such
 * functions and refuses. Upvalues are followed into functions and tables, a few levels deep. Of a table only those
 * fields count that the function can mean: items by position, and names that are among its constants (all names where
 * it iterates). That covers globals too, which are fields of the upvalue _ENV, and keeps a table of tools from being
 * blamed for a net that also stands in it. A name that is put together at run time is not found. */
#include <stdio.h>
#include <string.h>

#include "lua/module.h"

#define MAX_HOPS 4        /* functions used by functions; tables in tables */
#define MAX_VALUES 100000 /* looked at in all */
#define PATH_SIZE 256

typedef struct {
  lua_State *L;
  int seen;              /* a table: the functions that were looked at */
  int budget;            /* values left to look at */
  const char *module;    /* the path of the module, */
  char field[PATH_SIZE]; /* and its field, that the search started from */
  char path[PATH_SIZE];  /* how it got where it is: "its upvalue 'layers'[1]" */
} search;

/* ---- what a function can name ---- */

typedef struct {
  bool begun;
  luaL_Buffer buffer;
} chunk;

/* As string.dump does it: the buffer begins when the function is on top of the stack already. */
static int append_to_chunk(lua_State *L, const void *bytes, size_t size, void *context) {
  chunk *c = context;
  if (!c->begun) luaL_buffinit(L, &c->buffer);
  c->begun = true;
  luaL_addlstring(&c->buffer, bytes, size);
  return 0;
}

/* Pushes the function at `index` as precompiled bytes without debug information: its strings are its constants. */
static void push_chunk(lua_State *L, int index) {
  chunk c = {.begun = false};
  lua_pushvalue(L, index);
  lua_dump(L, append_to_chunk, &c, 1);
  luaL_pushresult(&c.buffer);
  lua_remove(L, -2);
}

/* In a chunk of Lua 5.4 a short string follows its length + 1 with the top bit set. */
static bool has_constant(lua_State *L, int chunk_index, const char *name) {
  char text[128];
  size_t size;
  const char *bytes = lua_tolstring(L, chunk_index, &size);
  const size_t length = strlen(name);
  if (length + 1 >= sizeof text) return true;
  text[0] = (char)(0x80 | (length + 1));
  memcpy(text + 1, name, length);
  for (const char *end = bytes + size, *at = bytes; (at = memchr(at, text[0], (size_t)(end - at))) != NULL; at++)
    if ((size_t)(end - at) > length && memcmp(at, text, length + 1) == 0) return true;
  return false;
}

/* ---- the way ---- */

static size_t extend(search *s, size_t used, const char *format, const char *name) {
  const int added = snprintf(s->path + used, PATH_SIZE - used, format, name);
  return used + (size_t)added < PATH_SIZE ? used + (size_t)added : PATH_SIZE - 1;
}

static void refuse(const search *s, const char *what) {
  char owner[MT_PATH_SIZE + 16] = "this Module";
  if (*s->module) snprintf(owner, sizeof owner, "module '%s'", s->module);
  luaL_error(s->L,
             "clone: '%s' of %s reaches %s through %s, which the copy would share with the original; make it a field "
             "and reach it through self",
             s->field, owner, what, s->path);
}

/* ---- functions, tables, and what they lead to ---- */

/* How a value was reached. chunk: where the bytes of the function are that looks at it; 0: everything counts. */
typedef struct {
  int chunk;
  int functions, tables; /* hops so far */
  bool globals;          /* the value is the table of globals */
  size_t used;           /* of the path */
} place;

static void look_at_value(search *s, place at);

/* The function on top of the stack. */
static void look_at_function(search *s, place at) {
  lua_State *L = s->L;
  const int function = lua_gettop(L);
  lua_pushvalue(L, function);
  const bool seen = lua_rawget(L, s->seen) != LUA_TNIL;
  lua_settop(L, function);
  if (seen || lua_iscfunction(L, function) || at.functions == MAX_HOPS) return;
  lua_pushvalue(L, function);
  lua_pushboolean(L, 1);
  lua_rawset(L, s->seen);
  push_chunk(L, function);
  if (at.functions == 0) { /* the path so far is the field's name */
    memcpy(s->field, s->path, sizeof s->field);
    at.used = 0;
  }
  const char *whose = at.functions == 0 ? "its" : " and that one's";
  const char *name;
  for (int i = 1; (name = lua_getupvalue(L, function, i)) != NULL; i++) {
    place next = {.chunk = function + 1, .functions = at.functions + 1, .globals = strcmp(name, "_ENV") == 0};
    next.used = extend(s, at.used, "%s ", whose);
    if (!next.globals) next.used = extend(s, next.used, "upvalue '%s'", name);
    look_at_value(s, next);
    lua_settop(L, function + 1);
  }
  lua_settop(L, function);
}

/* The key below the value on top of the stack: whether the function can mean this field; its name goes to the path. */
static bool means_field(search *s, place *at) {
  lua_State *L = s->L;
  if (lua_type(L, -2) == LUA_TSTRING) {
    const char *name = lua_tostring(L, -2);
    const bool iterates =
        at->chunk && !at->globals && (has_constant(L, at->chunk, "pairs") || has_constant(L, at->chunk, "next"));
    if (at->chunk && !iterates && !has_constant(L, at->chunk, name)) return false;
    at->used = extend(s, at->used, at->globals ? "global '%s'" : ".%s", name);
    return true;
  }
  if (at->globals) return false;
  lua_pushvalue(L, -2);
  at->used = extend(s, at->used, "[%s]", luaL_tolstring(L, -1, NULL));
  lua_pop(L, 2);
  return true;
}

/* The table on top of the stack. */
static void look_at_table(search *s, place at) {
  lua_State *L = s->L;
  const int table = lua_gettop(L);
  if (at.tables++ == MAX_HOPS) return;
  for (lua_pushnil(L); lua_next(L, table) && s->budget-- > 0; lua_settop(L, table + 1)) {
    const int type = lua_type(L, -1);
    place next = at;
    if (type != LUA_TUSERDATA && type != LUA_TFUNCTION && type != LUA_TTABLE) continue;
    if (!means_field(s, &next)) continue;
    next.globals = false;
    look_at_value(s, next);
  }
  lua_settop(L, table);
  if (luaL_getmetafield(L, table, "__index") == LUA_TTABLE && !lua_rawequal(L, -1, table)) look_at_table(s, at);
  lua_settop(L, table);
}

/* The value on top of the stack, which stays there. */
static void look_at_value(search *s, place at) {
  lua_State *L = s->L;
  luaL_checkstack(L, 16, "looking for modules that a forward reaches");
  const mt_module *m = mtl_test_module(L, -1);
  const mt_tensor *t = mtl_test_tensor(L, -1);
  s->path[at.used] = '\0';
  if (m) refuse(s, lua_pushfstring(L, "a %s", m->cls->name));
  if (t && (t->is_parameter || (t->requires_grad && !t->node))) refuse(s, "a parameter");
  if (lua_isfunction(L, -1)) look_at_function(s, at);
  if (lua_istable(L, -1)) look_at_table(s, at);
}

/* ---- the net ---- */

static int look_at_module(mt_module *m, const char *path, void *context) {
  search *s = context;
  lua_State *L = s->L;
  const int top = lua_gettop(L);
  if (!mtl_takes_fields(m)) return 0;
  luaL_checkstack(L, 16, "looking through a module's fields");
  s->module = path;
  mtl_push_known_module(L, m);
  if (lua_getiuservalue(L, -1, MTL_FIELDS) == LUA_TTABLE)
    for (lua_pushnil(L); lua_next(L, top + 2); lua_settop(L, top + 3)) {
      snprintf(s->field, sizeof s->field, "%s", lua_tostring(L, -2));
      look_at_value(s, (place){.used = extend(s, 0, "%s", s->field)});
    }
  lua_settop(L, top);
  return 0;
}

void mtl_check_reach(lua_State *L, int root) {
  mt_module *m = mtl_check_module(L, root);
  lua_newtable(L);
  search s = {.L = L, .seen = lua_gettop(L), .budget = MAX_VALUES};
  MTL_DO(L, mt_module_walk(m, look_at_module, &s));
  lua_pop(L, 1);
}
