/* Masks of one bit a pixel, and files of rows, in which masks, heatmaps and decoded images are kept. */
#include <string.h>

#include "data/masks.h"
#include "io/row_file.h"
#include "lua/tensor.h"
#include "ops/cast.h"

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
  mtl_pushed_memory(L);
  return 1;
}

static int collect_masks(lua_State *L) {
  mt_masks **slot = luaL_checkudata(L, 1, MTL_MASKS);
  mt_masks_release(*slot);
  *slot = NULL;
  return 0;
}

/*** Masks as rows of one bit a pixel (csrc/data/masks.h).
@function data.pack
@tparam Tensor keep uint8 {N,H,W}: 0 masks, anything else keeps
@treturn Tensor uint8 {N, ceil(H * W / 8)} */
static int pack(lua_State *L) {
  const mt_tensor *keep = mtl_check_tensor(L, 1);
  mt_tensor *bits;
  MTL_NEW(L, bits, mt_masks_pack(keep));
  mtl_push_tensor(L, bits);
  return 1;
}

/*** Masks of such rows.
@function data.masks
@tparam Tensor|RowFile rows as from pack, or a whole file of them, where they stay
@tparam integer height
@tparam integer width
@treturn Masks */
static int masks(lua_State *L) {
  mt_tensor *bits = mtl_test_tensor(L, 1);
  mt_row_file *file = bits ? NULL : mtl_check_row_file(L, 1);
  const int64_t height = mtl_check_integer(L, 2, 1, INT32_MAX), width = mtl_check_integer(L, 3, 1, INT32_MAX);
  mt_masks *made;
  MTL_NEW(L, made, bits ? mt_masks_of_bits(bits, height, width) : mt_masks_of_file(file, height, width));
  return push_masks(L, made);
}

/*** Whether a value is masks of one bit a pixel.
@function data.is_masks
@param value
@treturn boolean */
static int is_masks(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, mtl_test_masks(L, 1) != NULL);
  return 1;
}

static mt_tensor *push_unpacked(lua_State *L, const mt_masks *from, int64_t first, int64_t count) {
  mt_tensor *keep;
  MTL_NEW(L, keep, mt_masks_unpack(from, first, count));
  mtl_push_tensor(L, keep);
  return keep;
}

static mt_tensor *push_all(lua_State *L, int arg) {
  int64_t sizes[3];
  const mt_masks *from = mtl_check_masks(L, arg);
  mt_masks_shape(from, sizes);
  return push_unpacked(L, from, 0, sizes[0]);
}

void mtl_unpack_masks(lua_State *L, int arg) {
  push_all(L, arg);
  lua_replace(L, arg);
}

/* ---- what a uint8 tensor {N,H,W} would say ---- */

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

/*** The size of one axis, or of all as a table.
@function Masks:size
@tparam[opt] integer axis 1-based, negative from the end
@treturn integer|table */
static int size(lua_State *L) {
  int64_t sizes[3];
  mt_masks_shape(mtl_check_masks(L, 1), sizes);
  if (lua_isnoneornil(L, 2)) return shape(L);
  lua_pushinteger(L, sizes[mtl_check_axis(L, 2, 3)]);
  return 1;
}

static int length(lua_State *L) {
  int64_t sizes[3];
  mt_masks_shape(mtl_check_masks(L, 1), sizes);
  lua_pushinteger(L, sizes[0]);
  return 1;
}

/*** "uint8": what they are unpacked.
@function Masks:dtype
@treturn string */
static int dtype(lua_State *L) {
  mtl_check_masks(L, 1);
  lua_pushstring(L, mt_dtype_name(MT_UINT8));
  return 1;
}

/*** A range of them, one byte a pixel.
@function Masks:narrow
@tparam integer axis 1
@tparam integer first
@tparam integer count
@treturn Tensor uint8 {count,H,W}, 1 = keep */
static int narrow(lua_State *L) {
  int64_t sizes[3];
  const mt_masks *from = mtl_check_masks(L, 1);
  mt_masks_shape(from, sizes);
  mtl_check_integer(L, 2, 1, 1);
  const int64_t first = mtl_check_integer(L, 3, 1, sizes[0] + 1);
  push_unpacked(L, from, first - 1, mtl_check_integer(L, 4, 0, sizes[0] - first + 1));
  return 1;
}

/*** All of them as a tensor.
@function Masks:to
@tparam string dtype
@treturn Tensor {N,H,W}, 1 = keep */
static int to(lua_State *L) {
  mtl_check_masks(L, 1);
  const mt_dtype wanted = mtl_check_dtype(L, 2);
  mt_tensor *result, *keep = push_all(L, 1);
  if (wanted == MT_UINT8) return 1;
  MTL_NEW(L, result, mt_cast(keep, wanted));
  mtl_push_tensor(L, result);
  return 1;
}

/*** Their values as a string, one byte a pixel.
@function Masks:bytes
@treturn string */
static int bytes(lua_State *L) {
  const mt_tensor *keep = push_all(L, 1);
  lua_pushlstring(L, keep->data, (size_t)keep->count);
  return 1;
}

/*** Their values as nested tables.
@function Masks:totable
@treturn table */
static int totable(lua_State *L) {
  mtl_push_nested(L, push_all(L, 1));
  return 1;
}

/* A mask {H,W} for a number, else a method (upvalue 1). */
static int index_masks(lua_State *L) {
  int exact = 0;
  const lua_Integer place = lua_type(L, 2) == LUA_TNUMBER ? lua_tointegerx(L, 2, &exact) : 0;
  if (!exact) {
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    return 1;
  }
  int64_t sizes[3];
  const mt_masks *from = mtl_check_masks(L, 1);
  mt_masks_shape(from, sizes);
  if (place < 1 || place > sizes[0])
    return luaL_error(L, "mask %I, expected 1 to %I", (LUAI_UACINT)place, (LUAI_UACINT)sizes[0]);
  mt_tensor *one, *keep = push_unpacked(L, from, place - 1, 1);
  MTL_NEW(L, one, mt_tensor_alias(keep, 0, 2, keep->shape + 1));
  mtl_push_tensor(L, one);
  return 1;
}

/* ---- of their own ---- */

/*** How many pixels each mask keeps.
@function Masks:counts
@treturn Tensor int32 {N} */
static int counts(lua_State *L) {
  const mt_masks *of = mtl_check_masks(L, 1);
  mt_tensor *result;
  MTL_NEW(L, result, mt_masks_counts(of));
  mtl_push_tensor(L, result);
  return 1;
}

/* The list of integers at arg as an int32 tensor, pushed. */
static const mt_tensor *push_positions(lua_State *L, int arg) {
  const int64_t count = luaL_len(L, arg);
  mt_tensor *positions;
  MTL_NEW(L, positions, mt_tensor_new(MT_INT32, 1, &count));
  mtl_push_tensor(L, positions);
  for (int64_t i = 0; i < count; i++) {
    lua_geti(L, arg, i + 1);
    int exact = 0;
    const lua_Integer place = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &exact) : 0;
    if (!exact || place < 1 || place > INT32_MAX)
      luaL_argerror(L, arg, lua_pushfstring(L, "positions[%I]: position from 1 expected", (LUAI_UACINT)(i + 1)));
    mt_i32(positions)[i] = (int32_t)place;
    lua_pop(L, 1);
  }
  return positions;
}

/*** Some of the masks, over the same bits.
@function Masks:index
@tparam {integer,...}|Tensor positions from 1, int32 {M}
@treturn Masks */
static int pick(lua_State *L) {
  mt_masks *from = mtl_check_masks(L, 1), *some;
  const mt_tensor *positions = lua_istable(L, 2) ? push_positions(L, 2) : mtl_check_tensor(L, 2);
  MTL_NEW(L, some, mt_masks_index(from, positions));
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
  const mt_masks *of = mtl_check_masks(L, 1);
  mt_masks *result;
  MTL_NEW(L, result, mt_masks_complement(of));
  return push_masks(L, result);
}

/* ---- files of rows ---- */

mt_row_file *mtl_check_row_file(lua_State *L, int arg) {
  mt_row_file *file = *(mt_row_file **)luaL_checkudata(L, arg, ROW_FILE);
  if (!file) luaL_argerror(L, arg, "the file was already closed");
  return file;
}

static void release_file(void *file) { mt_row_file_release(file); }

/*** Lets go of it; masks that lie in it stay. Also done at the end of a `local file <close>`, and by the collector.
@function RowFile:close */
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
@tparam[opt=false] boolean shared other processes may have it open so, who put other rows
@treturn RowFile */
static int row_file(lua_State *L) {
  const char *path = mtl_check_path(L, 1);
  luaL_checktype(L, 2, LUA_TSTRING);
  const size_t header_size = lua_rawlen(L, 2);
  const int64_t count = mtl_check_integer(L, 3, 1, (int64_t)1 << 32);
  const int64_t row_bytes = mtl_check_integer(L, 4, 1, (int64_t)1 << 30);
  const bool shared = !lua_isnoneornil(L, 5) && mtl_check_boolean(L, 5);
  if (header_size < 8) luaL_argerror(L, 2, "8 bytes or more expected");
  mt_row_file *file;
  MTL_NEW(L, file, mt_row_file_open(path, lua_tostring(L, 2), header_size, count, (size_t)row_bytes, shared));
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
  if (mt_tensor_bytes(rows) != (size_t)count * size || first + count > mt_row_file_count(file))
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
  if (mt_tensor_bytes(rows) != (size_t)count * size || first + count > mt_row_file_count(file))
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

static const luaL_Reg functions[] = {
    {"pack", pack}, {"masks", masks}, {"is_masks", is_masks}, {"row_file", row_file}, {NULL, NULL}};

static const luaL_Reg methods[] = {{"shape", shape}, {"size", size},   {"dtype", dtype},           {"narrow", narrow},
                                   {"to", to},       {"bytes", bytes}, {"totable", totable},       {"counts", counts},
                                   {"index", pick},  {"both", both},   {"complement", complement}, {NULL, NULL}};

static const luaL_Reg file_methods[] = {
    {"present", present}, {"put", put}, {"get", get}, {"close", close_file}, {NULL, NULL}};

void mtl_open_masks(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", collect_masks}, {"__len", length}, {NULL, NULL}};
  static const luaL_Reg file_meta[] = {{"__gc", close_file}, {"__close", close_file}, {NULL, NULL}};
  mtl_new_class(L, MTL_MASKS, methods, meta);
  luaL_getmetatable(L, MTL_MASKS);
  lua_getfield(L, -1, "__index");
  lua_pushcclosure(L, index_masks, 1);
  mtl_name_function(L, "index");
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  mtl_new_class(L, ROW_FILE, file_methods, file_meta);
  luaL_getsubtable(L, -1, "data");
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
