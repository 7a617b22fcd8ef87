/* From a state dict into a module: which of its names belong to which of the module's, what is left over on either
 * side, and a report of that. Nothing is changed before all of it is known. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lua/module.h"
#include "ops/cast.h"

#define MAX_SHOWN 8     /* lines of each kind in an error */
#define MAX_PREFIXES 64 /* that are tried */
#define MAX_PREFIX_SIZE 128

/* The stack of load_state_dict. DETAILS: "list name" -> what is there, for the table in an error. */
enum { MODULE = 1, DICT, OPTIONS, NAMES, USED, MISSING, UNEXPECTED, MISMATCHED, IGNORED, DETAILS };

typedef struct {
  lua_State *L;
  const char *prefix; /* of the state dict's names, not of the module's */
  lua_Integer found;
} loading;

/* ---- names without what wrappers add ---- */

/* Modules that stand around another one give its names such a beginning; those that hold an average come last. */
static const char *const wrappers[] = {
    "module",       "model",           "net", "network",   "backbone",  "encoder",        "student", "base_model",
    "online_model", "_forward_module", "ema", "ema_model", "model_ema", "averaged_model", "teacher",
};
#define WRAPPER_COUNT ((int)(sizeof wrappers / sizeof wrappers[0]))

/* Added anywhere in a name, by torch.compile and by wrappers of parts; never names of a model's own. */
static const char *const inner_wrappers[] = {"_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."};
#define INNER_COUNT (sizeof inner_wrappers / sizeof inner_wrappers[0])

/* Pushes the name without inner wrappers. */
static const char *push_plain_name(lua_State *L, const char *name) {
  lua_pushstring(L, name);
  for (size_t i = 0; i < INNER_COUNT; i++) {
    if (!strstr(lua_tostring(L, -1), inner_wrappers[i])) continue;
    luaL_gsub(L, lua_tostring(L, -1), inner_wrappers[i], "");
    lua_remove(L, -2);
  }
  return lua_tostring(L, -1);
}

/* NAMES: plain name -> name. Where two names become one, the one that is plain counts, else the first by its bytes. */
static void collect_names(lua_State *L) {
  for (lua_pushnil(L); lua_next(L, DICT);) {
    lua_pop(L, 1);
    if (lua_type(L, -1) != LUA_TSTRING)
      luaL_argerror(L, DICT, lua_pushfstring(L, "a key is %s, expected names", luaL_typename(L, -1)));
    const char *name = lua_tostring(L, -1), *plain = push_plain_name(L, name);
    const char *other = lua_getfield(L, NAMES, plain) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    const bool counts = !other || (strcmp(other, plain) != 0 && (strcmp(name, plain) == 0 || strcmp(name, other) < 0));
    lua_pop(L, 1);
    lua_pushstring(L, counts ? name : other);
    lua_setfield(L, NAMES, plain);
    lua_pop(L, 1);
  }
}

/* Pushes the state dict's name for one of the module's, and returns it; NULL (nil pushed) when it has none. */
static const char *push_name(lua_State *L, const char *prefix, const char *path) {
  lua_pushfstring(L, "%s%s", prefix, path);
  lua_pushvalue(L, -1);
  if (lua_rawget(L, DICT) == LUA_TNIL) { /* as it stands */
    lua_pop(L, 1);
    lua_rawget(L, NAMES);
  } else {
    lua_pop(L, 1);
  }
  return lua_tostring(L, -1);
}

/* ---- the prefix ---- */

typedef struct {
  char text[MAX_PREFIX_SIZE];
  int rank; /* the last of its wrappers in the list */
  lua_Integer found;
} candidate;

static int wrapper_at(const char *name) {
  for (int i = 0; i < WRAPPER_COUNT; i++) {
    const size_t length = strlen(wrappers[i]);
    if (strncmp(name, wrappers[i], length) == 0 && name[length] == '.') return i;
  }
  return WRAPPER_COUNT;
}

static int add_prefix(candidate *list, int count, const char *text, size_t size, int rank) {
  for (int i = 0; i < count; i++)
    if (strlen(list[i].text) == size && memcmp(list[i].text, text, size) == 0) return count;
  if (count == MAX_PREFIXES) return count;
  memcpy(list[count].text, text, size);
  list[count].text[size] = '\0';
  list[count].rank = rank;
  return count + 1;
}

/* Every run of wrappers with which a name begins, and "", which is the first. Returns how many. */
static int list_prefixes(lua_State *L, candidate *list) {
  int count = add_prefix(list, 0, "", 0, -1);
  for (lua_pushnil(L); lua_next(L, NAMES);) {
    lua_pop(L, 1);
    const char *name = lua_tostring(L, -1);
    int rank = -1;
    for (size_t size = 0;;) {
      const int wrapper = wrapper_at(name + size);
      if (wrapper == WRAPPER_COUNT) break;
      size += strlen(wrappers[wrapper]) + 1;
      if (size >= MAX_PREFIX_SIZE) break;
      rank = wrapper > rank ? wrapper : rank;
      count = add_prefix(list, count, name, size, rank);
    }
  }
  return count;
}

static int count_slot(mt_slot *slot, const char *path, void *context) {
  loading *l = context;
  (void)slot;
  l->found += push_name(l->L, l->prefix, path) != NULL;
  lua_pop(l->L, 1);
  return 0;
}

/* More names found, then the earlier wrapper, then the shorter text, then the bytes. */
static bool is_better(const candidate *a, const candidate *b) {
  if (a->found != b->found) return a->found > b->found;
  if (a->rank != b->rank) return a->rank < b->rank;
  const size_t a_size = strlen(a->text), b_size = strlen(b->text);
  return a_size != b_size ? a_size < b_size : strcmp(a->text, b->text) < 0;
}

/* Pushes the prefix under which the state dict has most of the module's names. */
static const char *push_best_prefix(lua_State *L, mt_module *m) {
  candidate *list = lua_newuserdatauv(L, MAX_PREFIXES * sizeof *list, 0);
  const int count = list_prefixes(L, list);
  int best = 0;
  for (int i = 0; count > 1 && i < count; i++) {
    loading l = {.L = L, .prefix = list[i].text};
    MTL_DO(L, mt_module_walk_slots(m, count_slot, &l));
    list[i].found = l.found;
    if (i > 0 && is_better(&list[i], &list[best])) best = i;
  }
  lua_pushstring(L, list[best].text);
  lua_remove(L, -2);
  return lua_tostring(L, -1);
}

/* ---- comparing ---- */

/* Pops a value onto the end of a list. */
static void append_text(lua_State *L, int list) { lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1); }

/* Appends a name to a list; pops the text with the details. */
static void append_name(lua_State *L, int list, const char *name) {
  lua_pushfstring(L, "%d %s", list, name);
  lua_insert(L, -2);
  lua_rawset(L, DETAILS);
  lua_pushstring(L, name);
  append_text(L, list);
}

/* Pushes what was given with the i-th name of a list. */
static void push_details(lua_State *L, int list, lua_Integer i) {
  lua_rawgeti(L, list, i);
  lua_pushfstring(L, "%d %s", list, lua_tostring(L, -1));
  lua_rawget(L, DETAILS);
  lua_remove(L, -2);
}

static const char *push_type(lua_State *L, mt_dtype dtype, int ndim, const int64_t *shape) {
  char text[MT_SHAPE_TEXT];
  return lua_pushfstring(L, "%s %s", mt_dtype_name(dtype), mt_shape_text(ndim, shape, text));
}

static const char *push_slot_type(lua_State *L, const mt_slot *slot) {
  int64_t shape[MT_MAX_DIMS];
  const int ndim = mt_slot_file_shape(slot, shape);
  return push_type(L, slot->tensor->dtype, ndim, shape);
}

/* A scalar and a list of one are the same number. */
static bool shapes_fit(const mt_slot *slot, const mt_tensor *values) {
  int64_t shape[MT_MAX_DIMS];
  const int ndim = mt_slot_file_shape(slot, shape);
  if (values->count == 1 && slot->tensor->count == 1 && values->ndim + ndim == 1) return true;
  return values->ndim == ndim && memcmp(values->shape, shape, (size_t)ndim * sizeof shape[0]) == 0;
}

/* A counter that averaging code turned into a float counts on. */
static bool is_whole_number(const mt_tensor *values) {
  if (values->dtype != MT_FLOAT32 || values->count != 1) return false;
  const float value = *mt_f32(values);
  return value == truncf(value) && fabsf(value) < 0x1p31f;
}

static bool fits(const mt_slot *slot, const mt_tensor *values) {
  const bool types_fit =
      values->dtype == slot->tensor->dtype || (slot->tensor->dtype == MT_INT32 && is_whole_number(values));
  return types_fit && shapes_fit(slot, values);
}

/* Published weights from before PyTorch counted batches lack the counter. */
static bool may_be_missing(const mt_slot *slot) { return strcmp(slot->name, "num_batches_tracked") == 0; }

static int compare_slot(mt_slot *slot, const char *path, void *context) {
  const loading *l = context;
  lua_State *L = l->L;
  const char *name = push_name(L, l->prefix, path);
  if (!name) {
    lua_pop(L, 1);
    if (may_be_missing(slot)) return 0;
    push_slot_type(L, slot);
    append_name(L, MISSING, path);
    return 0;
  }
  lua_getfield(L, DICT, name);
  const mt_tensor *values = mtl_test_tensor(L, -1);
  if (!values) luaL_argerror(L, DICT, lua_pushfstring(L, "'%s' is %s, expected a tensor", name, luaL_typename(L, -1)));
  if (!fits(slot, values)) {
    const char *got = push_type(L, values->dtype, values->ndim, values->shape), *wanted = push_slot_type(L, slot);
    lua_pushfstring(L, "%s, expected %s", got, wanted);
    append_name(L, MISMATCHED, path);
    lua_pop(L, 2);
  }
  lua_pop(L, 1);
  lua_pushboolean(L, 1);
  lua_rawset(L, USED);
  return 0;
}

/* What stands beside the names with the prefix: a single number, a wrapper's own counter ("n_averaged" beside
 * "module.", "module.n_averaged" beside "module.module."); or, where the user gave the prefix, anything. */
static bool may_be_ignored(lua_State *L, const char *name, const char *prefix, bool is_given) {
  const int top = lua_gettop(L);
  const char *plain = push_plain_name(L, name), *dot = strrchr(plain, '.');
  const size_t size = strlen(prefix), stem = dot ? (size_t)(dot - plain) + 1 : 0;
  const bool is_beside = strncmp(name, prefix, size) != 0 && strncmp(plain, prefix, size) != 0;
  const bool is_wrappers = stem < size && strncmp(plain, prefix, stem) == 0;
  lua_getfield(L, DICT, name);
  const mt_tensor *values = mtl_test_tensor(L, -1);
  lua_settop(L, top);
  return is_given ? is_beside : is_wrappers && values && values->count == 1;
}

static void list_unexpected(lua_State *L, const char *prefix, bool is_given) {
  for (lua_pushnil(L); lua_next(L, DICT); lua_pop(L, 1)) {
    const char *name = lua_tostring(L, -2);
    const mt_tensor *values = mtl_test_tensor(L, -1);
    const bool is_used = lua_getfield(L, USED, name) != LUA_TNIL;
    lua_pop(L, 1);
    if (is_used) continue;
    if (values)
      push_type(L, values->dtype, values->ndim, values->shape);
    else
      lua_pushstring(L, luaL_typename(L, -1));
    append_name(L, may_be_ignored(L, name, prefix, is_given) ? IGNORED : UNEXPECTED, name);
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

/* ---- taking over ---- */

/* The values in the slot's own type and shape: a new reference, NULL with an error. */
static mt_tensor *adapted(const mt_slot *slot, mt_tensor *values) {
  int64_t shape[MT_MAX_DIMS];
  const int ndim = mt_slot_file_shape(slot, shape);
  mt_tensor *cast = values->dtype == slot->tensor->dtype ? mt_retain(values) : mt_cast(values, slot->tensor->dtype);
  mt_tensor *reshaped = cast ? mt_tensor_alias(cast, 0, ndim, shape) : NULL;
  mt_release(cast);
  return reshaped;
}

static int load_slot(mt_slot *slot, const char *path, void *context) {
  const loading *l = context;
  const char *name = push_name(l->L, l->prefix, path);
  if (name) lua_getfield(l->L, DICT, name);
  mt_tensor *values = name ? mtl_test_tensor(l->L, -1) : NULL;
  lua_pop(l->L, name ? 2 : 1); /* the table keeps it */
  if (!values || !fits(slot, values)) return 0;
  mt_tensor *own = adapted(slot, values);
  const int status = own ? mt_slot_from_file_order(slot, own, path) : -1;
  mt_release(own);
  return status;
}

/* ---- the report ---- */

static int longest_shown(lua_State *L, int list, lua_Integer shown) {
  size_t longest = 0;
  for (lua_Integer i = 1; i <= shown; i++) {
    lua_rawgeti(L, list, i);
    longest = lua_rawlen(L, -1) > longest ? lua_rawlen(L, -1) : longest;
    lua_pop(L, 1);
  }
  return (int)longest;
}

/* "  kind (2):", then a line for each: the name, padded, and what it is. */
static void add_table(lua_State *L, luaL_Buffer *text, int list, const char *kind) {
  const lua_Integer n = (lua_Integer)lua_rawlen(L, list), shown = n > MAX_SHOWN ? MAX_SHOWN : n;
  const int width = longest_shown(L, list, shown);
  if (n == 0) return;
  lua_pushfstring(L, "\n  %s (%I):", kind, (LUAI_UACINT)n);
  luaL_addvalue(text);
  for (lua_Integer i = 1; i <= shown; i++) {
    luaL_addstring(text, "\n    ");
    lua_rawgeti(L, list, i);
    const int padding = width - (int)lua_rawlen(L, -1);
    luaL_addvalue(text);
    for (int j = -2; j < padding; j++) luaL_addchar(text, ' ');
    push_details(L, list, i);
    luaL_addvalue(text);
  }
  if (n == shown) return;
  lua_pushfstring(L, "\n    and %I more", (LUAI_UACINT)(n - shown));
  luaL_addvalue(text);
}

static int raise_report(lua_State *L, const char *prefix) {
  luaL_Buffer text;
  mtl_push_place(L);
  luaL_buffinit(L, &text);
  luaL_addstring(&text, "load_state_dict: the names or shapes do not fit (nothing was loaded)");
  if (*prefix) {
    lua_pushfstring(L, "; names are taken without '%s'", prefix);
    luaL_addvalue(&text);
  }
  add_table(L, &text, MISSING, "missing in the state dict");
  add_table(L, &text, UNEXPECTED, "unexpected there");
  add_table(L, &text, MISMATCHED, "of another shape or type there");
  luaL_pushresult(&text);
  lua_concat(L, 2);
  return lua_error(L);
}

/* Turns the names in MISMATCHED into "name is ..., expected ...". */
static void describe_mismatches(lua_State *L) {
  for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, MISMATCHED); i <= n; i++) {
    lua_rawgeti(L, MISMATCHED, i);
    lua_pushliteral(L, " is ");
    push_details(L, MISMATCHED, i);
    lua_concat(L, 3);
    lua_rawseti(L, MISMATCHED, i);
  }
}

static void push_report(lua_State *L, const char *prefix) {
  static const struct {
    const char *name;
    int list;
  } parts[] = {{"missing", MISSING}, {"unexpected", UNEXPECTED}, {"mismatched", MISMATCHED}, {"ignored", IGNORED}};
  describe_mismatches(L);
  lua_createtable(L, 0, 5);
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    lua_pushvalue(L, parts[i].list);
    lua_setfield(L, -2, parts[i].name);
  }
  lua_pushstring(L, prefix);
  lua_setfield(L, -2, "prefix");
}

/*** Takes over the values of a state dict: `model:load_state_dict(mt.load(path))`. Whatever does not fit is named, all
at once, and then nothing is changed; with `strict = false` what fits is loaded.

What wrappers add to names is taken off where that makes them fit: `_orig_mod.` (torch.compile) and the like anywhere,
`module.`, `model.`, `net.`, `backbone.`, `ema.` and so on, also several of them, at the beginning. Single numbers
beside the names with such a prefix (`n_averaged`) are ignored. A scalar and a tensor of one element fit each other, as
does a whole number in float32 an int32 counter; `num_batches_tracked` may be missing.
@function Module:load_state_dict
@tparam table dict name -> tensor, convolution weights as O,I,kH,kW
@tparam[opt] table options `strict` (true); `prefix`: take the names that begin with it ("ema_model."), and ignore the
others
@treturn table `missing`, `unexpected`, `mismatched`, `ignored`: lists of names (mismatched: with the shapes); `prefix`:
what was taken off */
int mtl_load_state_dict(lua_State *L) {
  static const char *const known[] = {"strict", "prefix", NULL};
  mt_module *m = mtl_check_tree(L, MODULE);
  luaL_checktype(L, DICT, LUA_TTABLE);
  luaL_checkstack(L, 2 * LUA_MINSTACK, NULL);
  lua_settop(L, OPTIONS);
  mtl_check_options(L, OPTIONS, known);
  const bool strict = mtl_option_boolean(L, OPTIONS, "strict", true);
  const char *given = mtl_option_string(L, OPTIONS, "prefix", NULL);
  for (int i = NAMES; i <= DETAILS; i++) lua_newtable(L);
  collect_names(L);
  loading l = {.L = L, .prefix = given ? given : push_best_prefix(L, m)};
  MTL_DO(L, mt_module_walk_slots(m, compare_slot, &l));
  list_unexpected(L, l.prefix, given != NULL);
  sort_strings(L, UNEXPECTED);
  sort_strings(L, IGNORED);
  if (strict && lua_rawlen(L, MISSING) + lua_rawlen(L, UNEXPECTED) + lua_rawlen(L, MISMATCHED) > 0)
    return raise_report(L, l.prefix);
  MTL_DO(L, mt_module_walk_slots(m, load_slot, &l));
  push_report(L, l.prefix);
  return 1;
}
