/* Files: whole ones, gzip, md5, folders, and named tensors.
 *
 * What a core call allocates lives in a userdata made before the call, so that an error on the way to the Lua string
 * or table releases it. */
#include <string.h>

#include "io/atomic_file.h"
#include "io/file.h"
#include "io/gzip.h"
#include "io/md5.h"
#include "io/safetensors.h"
#include "io/weights.h"
#include "lua/binding.h"

#define BYTES "masktune.Bytes"
#define NAME_LIST "masktune.NameList"
#define WEIGHTS "masktune.Weights"

/* ---- what is released by Lua ---- */

static int collect_bytes(lua_State *L) {
  mt_bytes_free(luaL_checkudata(L, 1, BYTES));
  return 0;
}

static int collect_names(lua_State *L) {
  mt_name_list_free(luaL_checkudata(L, 1, NAME_LIST));
  return 0;
}

static int collect_weights(lua_State *L) {
  mt_weights_free(luaL_checkudata(L, 1, WEIGHTS));
  return 0;
}

static void *push_zeroed(lua_State *L, size_t size, const char *class) {
  void *object = lua_newuserdatauv(L, size, 0);
  memset(object, 0, size);
  luaL_setmetatable(L, class);
  return object;
}

static mt_bytes *push_bytes(lua_State *L) { return push_zeroed(L, sizeof(mt_bytes), BYTES); }

/* Pushes the contents as a Lua string and gives the buffer back at once. */
static int return_string(lua_State *L, mt_bytes *bytes) {
  lua_pushlstring(L, bytes->size ? (const char *)bytes->data : "", bytes->size);
  mt_bytes_free(bytes);
  return 1;
}

/* ---- arguments ---- */

static const char *check_string(lua_State *L, int arg, size_t *size) {
  luaL_checktype(L, arg, LUA_TSTRING);
  return lua_tolstring(L, arg, size);
}

static const char *check_path(lua_State *L, int arg) {
  size_t size;
  const char *path = check_string(L, arg, &size);
  luaL_argcheck(L, size > 0 && strlen(path) == size, arg, "path expected, got an empty string or one with a zero byte");
  return path;
}

static size_t opt_limit(lua_State *L, int arg) {
  return lua_isnoneornil(L, arg) ? SIZE_MAX : (size_t)mtl_check_integer(L, arg, 0, INT64_MAX / 2);
}

/* ---- files ---- */

/*** The contents of a file.
@function read_file
@tparam string path
@tparam[opt] integer max more bytes than this are an error
@treturn string */
static int read_file(lua_State *L) {
  const char *path = check_path(L, 1);
  const size_t max = opt_limit(L, 2);
  mt_bytes *bytes = push_bytes(L);
  MTL_DO(L, mt_read_file(path, max, bytes));
  return return_string(L, bytes);
}

/*** Writes a file that is at every moment either the old one or the new one, whole: the text goes to `path ..
".partial"` first, which replaces `path` when it is safe on disk.
@function write_file
@tparam string path
@tparam string contents */
static int write_file(lua_State *L) {
  size_t size;
  const char *path = check_path(L, 1), *contents = check_string(L, 2, &size);
  MTL_DO(L, mt_write_file(path, contents, size));
  return 0;
}

/*** Whether there is a file or folder of this name.
@function file_exists
@tparam string path
@treturn boolean */
static int file_exists(lua_State *L) {
  lua_pushboolean(L, mt_file_exists(check_path(L, 1)));
  return 1;
}

/*** What a path leads to, after all symbolic links.
@function path_kind
@tparam string path
@treturn ?string "file" (a regular one), "folder", "FIFO", "socket" or "device"; nil for nothing that can be reached
@treturn ?string what is the same for all paths that lead there, and for no other */
static int path_kind(lua_State *L) {
  mt_path_identity identity;
  const char *kind = mt_path_kind(check_path(L, 1), &identity);
  if (!kind) return 0;
  lua_pushstring(L, kind);
  lua_pushfstring(L, "%I:%I", (LUAI_UACINT)identity.device, (LUAI_UACINT)identity.inode);
  return 2;
}

/*** Makes a folder and those above it; one that is there already is no error.
@function make_directory
@tparam string path */
static int make_directory(lua_State *L) {
  MTL_DO(L, mt_make_directory(check_path(L, 1)));
  return 0;
}

/*** Removes a file; one that is not there is no error.
@function remove_file
@tparam string path */
static int remove_file(lua_State *L) {
  MTL_DO(L, mt_remove_file(check_path(L, 1)));
  return 0;
}

/*** The names in a folder, sorted by their bytes.
@function list_directory
@tparam string path
@treturn {string,...} */
static int list_directory(lua_State *L) {
  const char *path = check_path(L, 1);
  mt_name_list *list = push_zeroed(L, sizeof *list, NAME_LIST);
  MTL_DO(L, mt_list_directory(path, list));
  lua_createtable(L, (int)list->count, 0);
  for (size_t i = 0; i < list->count; i++) {
    lua_pushstring(L, list->names[i]);
    lua_seti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

/* ---- gzip and md5 ---- */

/*** Uncompresses gzip data. Truncated or damaged data, and anything after its end, are errors.
@function gunzip
@tparam string source the data itself (it starts with the bytes 1F 8B), or the path of a file with it
@tparam[opt] integer max more bytes of result than this are an error
@treturn string */
static int gunzip(lua_State *L) {
  size_t size;
  const char *source = check_string(L, 1, &size), *name = "data";
  const size_t max = opt_limit(L, 2);
  mt_bytes *file = push_bytes(L), *bytes = push_bytes(L);
  if (!mt_is_gzip(source, size)) {
    name = check_path(L, 1);
    MTL_DO(L, mt_read_file(name, SIZE_MAX, file));
    source = (const char *)file->data;
    size = file->size;
  }
  MTL_DO(L, mt_gunzip(source, size, max, name, bytes));
  mt_bytes_free(file);
  return return_string(L, bytes);
}

/*** Compresses a string.
@function gzip
@tparam string data
@treturn string */
static int gzip(lua_State *L) {
  size_t size;
  const char *data = check_string(L, 1, &size);
  mt_bytes *bytes = push_bytes(L);
  MTL_DO(L, mt_gzip(data, size, bytes));
  return return_string(L, bytes);
}

/*** The MD5 sum of a string (RFC 1321).
@function md5
@tparam string data
@treturn string 32 hexadecimal digits */
static int md5(lua_State *L) {
  size_t size;
  char text[33];
  const char *data = check_string(L, 1, &size);
  mt_md5(data, size, text);
  lua_pushstring(L, text);
  return 1;
}

/* ---- named tensors ---- */

/* The key below the value on top of the stack, as a name: a string without zero bytes. */
static const char *check_key(lua_State *L, int arg, const char *what) {
  size_t size = 0;
  if (lua_type(L, -2) == LUA_TSTRING) {
    const char *name = lua_tolstring(L, -2, &size);
    if (strlen(name) == size) return name;
  }
  luaL_argerror(L, arg,
                lua_pushfstring(L, "%s: string without zero bytes expected, got %s", what,
                                size ? "one with a zero byte" : luaL_typename(L, -2)));
  return NULL;
}

static void collect_tensors(lua_State *L, int arg, mt_weights *weights) {
  if (mtl_test_module(L, arg)) luaL_argerror(L, arg, "table of tensors expected, got a module: take its state_dict()");
  luaL_checktype(L, arg, LUA_TTABLE);
  for (lua_pushnil(L); lua_next(L, arg); lua_pop(L, 1)) {
    const char *name = check_key(L, arg, "name of a tensor");
    mt_tensor *t = mtl_test_tensor(L, -1);
    if (!t) luaL_argerror(L, arg, lua_pushfstring(L, "'%s': tensor expected, got %s", name, luaL_typename(L, -1)));
    MTL_DO(L, mt_weights_add(weights, name, mt_retain(t)));
  }
}

static void collect_metadata(lua_State *L, int arg, mt_weights *weights) {
  if (lua_isnoneornil(L, arg)) return;
  luaL_checktype(L, arg, LUA_TTABLE);
  for (lua_pushnil(L); lua_next(L, arg); lua_pop(L, 1)) {
    const char *key = check_key(L, arg, "key of the metadata");
    const bool is_string = lua_type(L, -1) == LUA_TSTRING;
    if (!is_string || strlen(lua_tostring(L, -1)) != lua_rawlen(L, -1))
      luaL_argerror(L, arg,
                    lua_pushfstring(L, "'%s': string without zero bytes expected, got %s", key,
                                    is_string ? "one with a zero byte" : luaL_typename(L, -1)));
    MTL_DO(L, mt_weights_add_metadata(weights, key, lua_tostring(L, -1)));
  }
}

/*** Writes named tensors as a safetensors file, which replaces an older one as a whole (see write_file).
@function save
@tparam string path
@tparam table tensors name -> tensor
@tparam[opt] table metadata string -> string */
static int save(lua_State *L) {
  const char *path = check_path(L, 1);
  lua_settop(L, 3);
  mt_weights *weights = push_zeroed(L, sizeof *weights, WEIGHTS);
  collect_tensors(L, 2, weights);
  collect_metadata(L, 3, weights);
  MTL_DO(L, mt_safetensors_write(path, weights));
  mt_weights_free(weights);
  return 0;
}

static int read_afresh(const char *path, const mt_load_request *request, mt_weights *weights) {
  mt_weights_free(weights); /* what a first try, cut short by lack of memory, left */
  return mt_weights_load(path, request, weights);
}

/* Whether option `log` at arg is something to call; true also where it is missing. */
static bool check_log(lua_State *L, int arg) {
  if (!mtl_has_option(L, arg, "log")) return true;
  const int type = lua_getfield(L, arg, "log");
  const bool silent = type == LUA_TBOOLEAN && !lua_toboolean(L, -1);
  if (type != LUA_TFUNCTION && !silent) mtl_option_error(L, arg, "log", "function or false");
  lua_pop(L, 1);
  return !silent;
}

/* Where all notices of masktune go: mt.notice.say. False, and nothing pushed, where the core stands alone. */
static bool push_say(lua_State *L) {
  const int top = lua_gettop(L);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "masktune.notice");
  if (lua_pcall(L, 1, 1, 0) == LUA_OK && lua_istable(L, -1) && lua_getfield(L, -1, "say") == LUA_TFUNCTION) {
    lua_replace(L, top + 1);
    return true;
  }
  lua_settop(L, top);
  return false;
}

static void say_notices(lua_State *L, int arg, const mt_weights *weights) {
  const bool has_log = mtl_has_option(L, arg, "log");
  for (size_t i = 0; i < weights->n_notices; i++) {
    if (has_log) {
      lua_getfield(L, arg, "log");
      lua_pushstring(L, weights->notices[i]);
      lua_call(L, 1, 0);
    } else if (push_say(L)) {
      lua_pushliteral(L, "%s");
      lua_pushstring(L, weights->notices[i]);
      lua_call(L, 2, 0);
    } else {
      lua_writestringerror("%s\n", weights->notices[i]);
    }
  }
}

/*** Reads the named tensors of a safetensors file, or of a file that PyTorch's torch.save wrote (.pth, .pt, .th, .bin,
in its zip or its older format) or of a pickle of NumPy's arrays, told by its contents:
`model:load_state_dict(mt.load(path))`. float64, float16 and bfloat16 become float32; int64 and the unsigned ones
(values checked), int16 and int8 int32; bool uint8. A tensor that cannot be had here (complex, quantised, sparse, of
more than 6 axes, of larger integers) is left out. A damaged file is an error that says what is wrong with it.

Of PyTorch's files it reads a state dict, or the tensors of a module that was saved whole, and runs nothing: what else
stands in the file is passed over, whatever its classes. Where several parts hold tensors, it takes the one under a name
that training programs use for weights (`state_dict`, `model_state_dict`, `model`, `net`, `module`, `weights`, `params`,
...), else the one under such a name for averaged weights (`state_dict_ema`, `model_ema`, `ema`, ...), else the one with
the most tensors. Tensors that overlap in the file share memory, as they do in PyTorch.

What was taken where there was a choice, and what was left out, is said in a line each.
@function load
@tparam string path
@tparam[opt] table options `key`: which part of a PyTorch file is meant ("generator.state_dict"; items of lists count
from 1, "" is the whole); `log`: gets each line (default: they go to mt.notice), or false
@treturn table name -> tensor, names as in the file */
static int load(lua_State *L) {
  static const char *const known[] = {"key", "log", NULL};
  const char *path = check_path(L, 1);
  lua_settop(L, 2);
  mtl_check_options(L, 2, known);
  const mt_load_request request = {.key = mtl_option_string(L, 2, "key", NULL)};
  const bool is_heard = check_log(L, 2);
  mt_weights *weights = push_zeroed(L, sizeof *weights, WEIGHTS);
  MTL_DO(L, read_afresh(path, &request, weights));
  lua_createtable(L, 0, (int)weights->n_tensors);
  for (size_t i = 0; i < weights->n_tensors; i++) {
    mtl_push_tensor(L, mt_retain(weights->tensors[i].tensor));
    lua_setfield(L, -2, weights->tensors[i].name);
  }
  if (is_heard) say_notices(L, 2, weights);
  mt_weights_free(weights);
  return 1;
}

/*** What is written beside the tensors: the metadata of a safetensors file; of a PyTorch file the numbers, booleans and
strings in its dicts and objects, under their path ("epoch", "args.lr"), as text. As mt.save takes it.
@function load_metadata
@tparam string path
@treturn table string -> string */
static int load_metadata(lua_State *L) {
  const char *path = check_path(L, 1);
  const mt_load_request request = {.metadata_only = true};
  mt_weights *weights = push_zeroed(L, sizeof *weights, WEIGHTS);
  MTL_DO(L, read_afresh(path, &request, weights));
  lua_createtable(L, 0, (int)weights->n_metadata);
  for (size_t i = 0; i < weights->n_metadata; i++) {
    lua_pushstring(L, weights->metadata[i].value);
    lua_setfield(L, -2, weights->metadata[i].key);
  }
  mt_weights_free(weights);
  return 1;
}

static const luaL_Reg functions[] = {
    {"read_file", read_file},
    {"write_file", write_file},
    {"file_exists", file_exists},
    {"path_kind", path_kind},
    {"make_directory", make_directory},
    {"remove_file", remove_file},
    {"list_directory", list_directory},
    {"gunzip", gunzip},
    {"gzip", gzip},
    {"md5", md5},
    {"save", save},
    {"load", load},
    {"load_metadata", load_metadata},
    {NULL, NULL},
};

void mtl_open_io(lua_State *L) {
  static const luaL_Reg none[] = {{NULL, NULL}};
  static const luaL_Reg bytes_meta[] = {{"__gc", collect_bytes}, {NULL, NULL}};
  static const luaL_Reg names_meta[] = {{"__gc", collect_names}, {NULL, NULL}};
  static const luaL_Reg weights_meta[] = {{"__gc", collect_weights}, {NULL, NULL}};
  mtl_new_class(L, BYTES, none, bytes_meta);
  mtl_new_class(L, NAME_LIST, none, names_meta);
  mtl_new_class(L, WEIGHTS, none, weights_meta);
  luaL_setfuncs(L, functions, 0);
}
