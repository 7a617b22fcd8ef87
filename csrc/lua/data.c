/* Images that are read when they are looked at, and batches of them made ahead; what masktune.data.streamed and
 * masktune.data.loader are built on. */
#include "data/loader.h"
#include "lua/augment.h"
#include "lua/picture_files.h"

#define SOURCE "masktune.ImageSource"
#define VIEW "masktune.ImageView"
#define BATCHES "masktune.Batches"

#define MOST_PARTS 64
#define MOST_SIDE 65536

static void *check_owned(lua_State *L, int arg, const char *class) {
  void *object = *(void **)luaL_checkudata(L, arg, class);
  if (!object) luaL_argerror(L, arg, "it was already released");
  return object;
}

/* ---- sources ---- */

static void release_source(void *source) { mt_source_release(source); }

static int collect_source(lua_State *L) {
  mt_source **slot = luaL_checkudata(L, 1, SOURCE);
  mt_source_release(*slot);
  *slot = NULL;
  return 0;
}

/*** Images that stay in their files.
@function data.files
@tparam {string,...} paths
@tparam {integer,integer,integer} shape height, width, channels (1, 3 or 4)
@tparam[opt] table options `fit` as in image.read_files; `cache`: a row file of H * W * C bytes a row
@treturn ImageSource */
static int files(lua_State *L) {
  static const char *const known[] = {"fit", "cache", NULL};
  int64_t count, shape[MT_MAX_DIMS];
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  const int axes = mtl_check_shape(L, 2, shape);
  mtl_check_options(L, 3, known);
  const mt_image_fit fit = mtl_option_fit(L, 3);
  if (axes != 3 || shape[0] < 1 || shape[1] < 1 || shape[0] > MOST_SIDE || shape[1] > MOST_SIDE ||
      (shape[2] != 1 && shape[2] != 3 && shape[2] != 4))
    luaL_argerror(L, 2, "{H,W,C} with H and W 1 to 65536, C 1, 3 or 4 expected");
  lua_settop(L, 3);
  const char **paths = mtl_push_paths(L, 1, &count);
  mt_source *source;
  MTL_NEW(L, source, mt_source_of_files(paths, count, shape, fit));
  mtl_push_owner(L, source, release_source, SOURCE, 0);
  if (mtl_has_option(L, 3, "cache")) {
    lua_getfield(L, 3, "cache");
    MTL_DO(L, mt_source_set_cache(source, mtl_check_row_file(L, lua_gettop(L))));
    lua_pop(L, 1);
  }
  mtl_pushed_memory(L);
  return 1;
}

/*** The images of a tensor.
@function data.images
@tparam Tensor images uint8 {N,H,W,C}
@treturn ImageSource */
static int images(lua_State *L) {
  mt_tensor *tensor = mtl_check_tensor(L, 1);
  mt_source *source;
  MTL_NEW(L, source, mt_source_of_tensor(tensor));
  mtl_push_owner(L, source, release_source, SOURCE, 0);
  return 1;
}

/*** Why nothing is put into the cache any more; nil while all is well.
@function ImageSource:cache_problem
@treturn ?string */
static int cache_problem(lua_State *L) {
  lua_pushstring(L, mt_source_cache_problem(check_owned(L, 1, SOURCE)));
  return 1;
}

/* ---- views ---- */

static void release_view(void *view) { mt_view_release(view); }

static int collect_view(lua_State *L) {
  mt_view **slot = luaL_checkudata(L, 1, VIEW);
  mt_view_release(*slot);
  *slot = NULL;
  return 0;
}

/* Fields of the part on top of the stack; what they hold stays alive in the table at argument 1. */
static mt_view_part check_part(lua_State *L, int number) {
  mt_view_part part = {0};
  const int at = lua_gettop(L);
  if (!lua_istable(L, at)) luaL_argerror(L, 1, lua_pushfstring(L, "part %d: table expected", number));
  lua_getfield(L, at, "source");
  mt_source **source = luaL_testudata(L, -1, SOURCE);
  if (!source || !*source) luaL_argerror(L, 1, lua_pushfstring(L, "part %d: source expected", number));
  part.source = *source;
  lua_getfield(L, at, "positions");
  part.positions = mtl_test_tensor(L, -1);
  lua_getfield(L, at, "masks");
  part.masks = mtl_test_masks(L, -1);
  lua_getfield(L, at, "dim");
  part.dim = mtl_test_tensor(L, -1);
  const bool odd = (!part.positions && !lua_isnil(L, at + 2)) || (!part.masks && !lua_isnil(L, at + 3)) ||
                   (!part.dim && !lua_isnil(L, at + 4));
  if (odd) luaL_argerror(L, 1, lua_pushfstring(L, "part %d: positions, masks and dim expected, or nil", number));
  lua_settop(L, at);
  return part;
}

/*** The sum of sources' images, each masked.
@function data.view
@tparam {table,...} parts `source`; `positions` int32 {N} (its images 1..N); `masks`: Masks; `dim`: shares, float32
{N,H,W}
@treturn ImageView */
static int view(lua_State *L) {
  mt_view_part parts[MOST_PARTS];
  luaL_checktype(L, 1, LUA_TTABLE);
  const int64_t count = (int64_t)lua_rawlen(L, 1);
  if (count < 1 || count > MOST_PARTS)
    luaL_argerror(L, 1, lua_pushfstring(L, "1 to %d parts expected, got %I", MOST_PARTS, (LUAI_UACINT)count));
  for (int i = 0; i < (int)count; i++) {
    lua_rawgeti(L, 1, i + 1);
    parts[i] = check_part(L, i + 1);
    lua_pop(L, 1);
  }
  mt_view *made;
  MTL_NEW(L, made, mt_view_new(parts, (int)count));
  mtl_push_owner(L, made, release_view, VIEW, 0);
  mtl_pushed_memory(L);
  return 1;
}

static int read_afresh(const mt_view *view_, const mt_tensor *positions, mt_tensor *to, mtl_texts *messages) {
  mtl_clear_texts(messages);
  return mt_view_read(view_, positions, to, messages->texts);
}

/*** Reads images; threads share the work.
@function ImageView:read
@tparam Tensor positions int32 {B}, from 1
@treturn Tensor uint8 {B,H,W,C}
@treturn table position in the batch -> message, of the images that could not be read; they are black */
static int read_images(lua_State *L) {
  const mt_view *from = check_owned(L, 1, VIEW);
  const mt_tensor *positions = mtl_check_tensor(L, 2);
  const int64_t *size = mt_view_shape(from), shape[4] = {positions->count, size[1], size[2], size[3]};
  lua_settop(L, 2);
  mtl_texts *messages = mtl_push_texts(L, positions->count);
  mt_tensor *to;
  MTL_NEW(L, to, mt_tensor_new(MT_UINT8, 4, shape));
  mtl_push_tensor(L, to);
  MTL_DO(L, read_afresh(from, positions, to, messages));
  mtl_push_text_table(L, (const char *const *)messages->texts, messages->count);
  return 2;
}

/* ---- batches ---- */

static void release_batches(void *loader) { mt_loader_free(loader); }

/*** Ends the threads, and gives back what is not handed out. Also done when a `for` loop over the batches is left, and
when they are collected.
@function Batches:close */
static int close_batches(lua_State *L) {
  mt_loader **slot = luaL_checkudata(L, 1, BATCHES);
  mt_loader *loader = *slot;
  *slot = NULL;
  mt_loader_free(loader);
  return 0;
}

/*** The batches of an epoch, made ahead by threads (csrc/data/loader.h).
@function data.batches
@tparam ImageView view
@tparam Tensor order int32 {n}, positions from 1
@tparam table options `batch`, `drop_last` (false), `ahead` (2 batches), `threads` (1), `seed` (0), `epoch` (1), `steps`
(as in image.augment)
@treturn Batches */
static int batches(lua_State *L) {
  static const char *const known[] = {"batch", "drop_last", "ahead", "threads", "seed", "epoch", "steps", NULL};
  mt_loader_options o = {.view = check_owned(L, 1, VIEW), .order = mtl_check_tensor(L, 2)};
  luaL_checktype(L, 3, LUA_TTABLE);
  mtl_check_options(L, 3, known);
  o.batch = mtl_option_integer(L, 3, "batch", 128, 1, INT32_MAX);
  o.drop_last = mtl_option_boolean(L, 3, "drop_last", false);
  o.ahead = (int)mtl_option_integer(L, 3, "ahead", 2, 1, 1024);
  o.threads = (int)mtl_option_integer(L, 3, "threads", 1, 0, 1024);
  o.key.seed = (uint64_t)mtl_option_integer(L, 3, "seed", 0, INT64_MIN, INT64_MAX);
  o.key.epoch = (uint64_t)mtl_option_integer(L, 3, "epoch", 1, 0, INT64_MAX);
  lua_settop(L, 3);
  if (lua_getfield(L, 3, "steps") == LUA_TNIL) {
    lua_newtable(L);
    lua_replace(L, 4);
  }
  o.steps = mtl_check_steps(L, 4, &o.step_count);
  mt_loader *loader;
  MTL_NEW(L, loader, mt_loader_new(&o));
  mtl_push_owner(L, loader, release_batches, BATCHES, 1);
  lua_pushvalue(L, 5);
  lua_setiuservalue(L, -2, 1); /* the steps point into it */
  return 1;
}

/*** The next batch.
@function Batches:next
@treturn ?Tensor float32 {B,H,W,C}; nil after the last
@treturn ?table position in the batch -> message, of the images that could not be read; they are black */
static int next_batch(lua_State *L) {
  mt_loader *loader = check_owned(L, 1, BATCHES);
  mt_loaded loaded;
  MTL_DO(L, mt_loader_next(loader, &loaded));
  if (!loaded.images) return 0;
  mtl_push_tensor(L, loaded.images);
  if (loaded.problem_count == 0) return 1;
  mtl_push_text_table(L, loaded.problems, loaded.count);
  return 2;
}

/*** The seconds that calls of next took so far.
@function Batches:waited
@treturn number */
static int waited(lua_State *L) {
  lua_pushnumber(L, mt_loader_waited(check_owned(L, 1, BATCHES)));
  return 1;
}

/* ---- files ---- */

/*** How large files are; threads share the work.
@function data.file_sizes
@tparam {string,...} paths
@treturn {integer,...} bytes; -1 for what is no regular file that can be reached */
static int file_sizes(lua_State *L) {
  int64_t count;
  const char **paths = mtl_push_paths(L, 1, &count);
  int64_t *sizes = lua_newuserdatauv(L, (size_t)count * sizeof *sizes, 0);
  mt_file_sizes(paths, count, sizes);
  lua_createtable(L, (int)(count < INT32_MAX ? count : 0), 0);
  for (int64_t i = 0; i < count; i++) {
    lua_pushinteger(L, sizes[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static const luaL_Reg functions[] = {{"files", files},     {"images", images},         {"view", view},
                                     {"batches", batches}, {"file_sizes", file_sizes}, {NULL, NULL}};

void mtl_open_data(lua_State *L) {
  static const luaL_Reg source_methods[] = {{"cache_problem", cache_problem}, {NULL, NULL}};
  static const luaL_Reg source_meta[] = {{"__gc", collect_source}, {NULL, NULL}};
  static const luaL_Reg view_methods[] = {{"read", read_images}, {NULL, NULL}};
  static const luaL_Reg view_meta[] = {{"__gc", collect_view}, {NULL, NULL}};
  static const luaL_Reg batch_methods[] = {
      {"next", next_batch}, {"waited", waited}, {"close", close_batches}, {NULL, NULL}};
  static const luaL_Reg batch_meta[] = {{"__gc", close_batches}, {"__close", close_batches}, {NULL, NULL}};
  mtl_new_class(L, SOURCE, source_methods, source_meta);
  mtl_new_class(L, VIEW, view_methods, view_meta);
  mtl_new_class(L, BATCHES, batch_methods, batch_meta);
  luaL_getsubtable(L, -1, "data");
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
