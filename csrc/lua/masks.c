/* Masks of one bit a pixel, and files of rows, in which masks, heatmaps and decoded images are kept. */
#include <string.h>

#include "data/masks.h"
#include "io/row_file.h"
#include "lua/binding.h"

#define ROW_FILE "masktune.RowFile"

/* ---- masks ---- */

mt_masks *mtl_test_masks(lua_State *L, int arg) {
  mt_masks **slot = luaL_testudata(L, arg, MTL_MASKS);
  return slot ? *slot : NULL;
}

mt_masks *mtl_check_masks(lua_State *L, int arg) {
  mt_masks *masks = *(mt_masks **)luaL_checkudata(L, arg, MTL_MASKS);
  if (!masks) luaL_argerror(L, arg, "the masks were already released");
  return masks;
}

static void release_masks(void *masks) { mt_masks_release(masks); }

static int push_masks(lua_State *L, mt_masks *masks) {
  mtl_push_owner(L, masks, release_masks, MTL_MASKS, 0);
  mtl_collect_if_wanted(L);
  return 1;
}

static int collect_masks(lua_State *L) {
  mt_masks **slot = luaL_checkudata(L, 1, MTL_MASKS);
  mt_masks_release(*slot);
  *slot = NULL;
  return 0;
}

/*** Masks as one bit a pixel.
@function data.pack
@tparam Tensor keep uint8 {N,H,W}: 0 masks, anything else keeps
@treturn Masks */
static int pack(lua_State *L) {
  const mt_tensor *keep = mtl_check_tensor(L, 1);
  mt_masks *masks;
  MTL_NEW(L, masks, mt_masks_pack(keep));
  return push_masks(L, masks);
}

/*** The masks in a whole file, which stay there.
@function data.masks_in
@tparam RowFile file
@tparam integer height
@tparam integer width
@treturn Masks */
static int masks_in(lua_State *L) {
  mt_row_file *file = mtl_check_row_file(L, 1);
  const int64_t height = mtl_check_integer(L, 2, 1, INT32_MAX), width = mtl_check_integer(L, 3, 1, INT32_MAX);
  mt_masks *masks;
  MTL_NEW(L, masks, mt_masks_of_file(file, height, width));
  return push_masks(L, masks);
}

/*** Their sizes.
@function Masks:shape
@treturn {integer,integer,integer} N, H, W */
static int shape(lua_State *L) {
  int64_t sizes[3];
  mt_masks_shape(mtl_check_masks(L, 1), sizes);
  lua_createtable(L, 3, 0);
  for (int i = 0; i < 3; i++) {
    lua_pushinteger(L, sizes[i]);
    lua_seti(L, -2, i + 1);
  }
  return 1;
}

static int length(lua_State *L) {
  int64_t sizes[3];
  mt_masks_shape(mtl_check_masks(L, 1), sizes);
  lua_pushinteger(L, sizes[0]);
  return 1;
}

/*** Masks first .. first + count - 1 as bytes.
@function Masks:unpack
@tparam[opt=1] integer first
@tparam[opt] integer count (all from there)
@treturn Tensor uint8 {count,H,W}, 1 = keep */
static int unpack(lua_State *L) {
  int64_t sizes[3];
  const mt_masks *masks = mtl_check_masks(L, 1);
  mt_masks_shape(masks, sizes);
  const int64_t first = lua_isnoneornil(L, 2) ? 1 : mtl_check_integer(L, 2, 1, sizes[0] + 1);
  const int64_t left = sizes[0] - first + 1, count = lua_isnoneornil(L, 3) ? left : mtl_check_integer(L, 3, 0, left);
  mt_tensor *keep;
  MTL_NEW(L, keep, mt_masks_unpack(masks, first - 1, count));
  mtl_push_tensor(L, keep);
  return 1;
}

/*** How many pixels each mask keeps.
@function Masks:counts
@treturn Tensor int32 {N} */
static int counts(lua_State *L) {
  const mt_masks *masks = mtl_check_masks(L, 1);
  mt_tensor *result;
  MTL_NEW(L, result, mt_masks_counts(masks));
  mtl_push_tensor(L, result);
  return 1;
}

/*** Some of the masks, over the same bits.
@function Masks:pick
@tparam Tensor positions int32 {M}, from 1
@treturn Masks */
static int pick(lua_State *L) {
  mt_masks *masks = mtl_check_masks(L, 1), *some;
  const mt_tensor *positions = mtl_check_tensor(L, 2);
  MTL_NEW(L, some, mt_masks_index(masks, positions));
  return push_masks(L, some);
}

/*** What both keep.
@function Masks:both
@tparam Masks other
@treturn Masks */
static int both(lua_State *L) {
  const mt_masks *a = mtl_check_masks(L, 1), *b = mtl_check_masks(L, 2);
  mt_masks *result;
  MTL_NEW(L, result, mt_masks_both(a, b));
  return push_masks(L, result);
}

/*** What these do not keep.
@function Masks:complement
@treturn Masks */
static int complement(lua_State *L) {
  const mt_masks *masks = mtl_check_masks(L, 1);
  mt_masks *result;
  MTL_NEW(L, result, mt_masks_complement(masks));
  return push_masks(L, result);
}

/* ---- files of rows ---- */

mt_row_file *mtl_check_row_file(lua_State *L, int arg) {
  mt_row_file *file = *(mt_row_file **)luaL_checkudata(L, arg, ROW_FILE);
  if (!file) luaL_argerror(L, arg, "the file was already closed");
  return file;
}

static void release_file(void *file) { mt_row_file_release(file); }

static int close_file(lua_State *L) {
  mt_row_file **slot = luaL_checkudata(L, 1, ROW_FILE);
  mt_row_file_release(*slot);
  *slot = NULL;
  return 0;
}

/*** Opens a file of rows, or begins one; masktune.data.row_file makes the header.
@function data.row_file
@tparam string path
@tparam string header
@tparam integer count rows
@tparam integer row_bytes
@treturn RowFile */
static int row_file(lua_State *L) {
  const char *path = mtl_check_path(L, 1);
  luaL_checktype(L, 2, LUA_TSTRING);
  const size_t header_size = lua_rawlen(L, 2);
  const int64_t count = mtl_check_integer(L, 3, 1, (int64_t)1 << 32);
  const int64_t row_bytes = mtl_check_integer(L, 4, 1, (int64_t)1 << 30);
  if (header_size < 8) luaL_argerror(L, 2, "8 bytes or more expected");
  mt_row_file *file;
  MTL_NEW(L, file, mt_row_file_open(path, lua_tostring(L, 2), header_size, count, (size_t)row_bytes));
  mtl_push_owner(L, file, release_file, ROW_FILE, 0);
  return 1;
}

/*** How many rows are there.
@function RowFile:present
@treturn integer */
static int present(lua_State *L) {
  lua_pushinteger(L, mt_row_file_present(mtl_check_row_file(L, 1)));
  return 1;
}

static int64_t check_place(lua_State *L, const mt_row_file *file) {
  return mtl_check_integer(L, 2, 1, mt_row_file_count(file)) - 1;
}

static size_t bytes_of(const mt_tensor *t) { return (size_t)t->count * mt_dtype_size(t->dtype); }

/*** Writes rows first, first + 1, ...
@function RowFile:put
@tparam integer first
@tparam Tensor rows {n,...} of a row's bytes each */
static int put(lua_State *L) {
  mt_row_file *file = mtl_check_row_file(L, 1);
  const int64_t first = check_place(L, file);
  const mt_tensor *rows = mtl_check_tensor(L, 3);
  const size_t size = mt_row_file_row_bytes(file);
  const int64_t count = rows->ndim > 0 ? rows->shape[0] : 0;
  if (bytes_of(rows) != (size_t)count * size || first + count > mt_row_file_count(file))
    luaL_argerror(L, 3,
                  lua_pushfstring(L, "at most %I rows of %I bytes expected",
                                  (LUAI_UACINT)(mt_row_file_count(file) - first), (LUAI_UACINT)size));
  for (int64_t i = 0; i < count; i++)
    MTL_DO(L, mt_row_file_put(file, first + i, (const char *)rows->data + (size_t)i * size));
  return 0;
}

/*** Reads rows first, first + 1, ... into a tensor.
@function RowFile:get
@tparam integer first
@tparam Tensor rows {n,...} of a row's bytes each, filled
@treturn integer how many were there before the first that was not */
static int get(lua_State *L) {
  mt_row_file *file = mtl_check_row_file(L, 1);
  const int64_t first = check_place(L, file);
  mt_tensor *rows = mtl_check_target(L, 3);
  const size_t size = mt_row_file_row_bytes(file);
  const int64_t count = rows->ndim > 0 ? rows->shape[0] : 0;
  if (bytes_of(rows) != (size_t)count * size || first + count > mt_row_file_count(file))
    luaL_argerror(L, 3,
                  lua_pushfstring(L, "at most %I rows of %I bytes expected",
                                  (LUAI_UACINT)(mt_row_file_count(file) - first), (LUAI_UACINT)size));
  int64_t i = 0;
  for (int got = 1; i < count && got > 0; i += got > 0) {
    MTL_DO(L, got = mt_row_file_get(file, first + i, (char *)rows->data + (size_t)i * size));
  }
  mt_touch(rows);
  lua_pushinteger(L, i);
  return 1;
}

static const luaL_Reg functions[] = {{"pack", pack}, {"masks_in", masks_in}, {"row_file", row_file}, {NULL, NULL}};

void mtl_open_masks(lua_State *L) {
  static const luaL_Reg methods[] = {{"shape", shape}, {"unpack", unpack},         {"counts", counts}, {"pick", pick},
                                     {"both", both},   {"complement", complement}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", collect_masks}, {"__len", length}, {NULL, NULL}};
  static const luaL_Reg file_methods[] = {
      {"present", present}, {"put", put}, {"get", get}, {"close", close_file}, {NULL, NULL}};
  static const luaL_Reg file_meta[] = {{"__gc", close_file}, {NULL, NULL}};
  mtl_new_class(L, MTL_MASKS, methods, meta);
  mtl_new_class(L, ROW_FILE, file_methods, file_meta);
  luaL_getsubtable(L, -1, "data");
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
