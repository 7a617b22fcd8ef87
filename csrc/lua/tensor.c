/* The tensor userdata: what it is, its values, and the list of its methods. Operations are in the other
 * tensor_*.c files, whose tables are registered here.
 *
 * The metatable's __index is a function: strings find methods, everything else finds parts (tensor_index.c). */
#include "lua/tensor.h"

#include "ops/cast.h"
#include "ops/shape.h"

static int collect_tensor(lua_State *L) {
  mt_tensor **slot = luaL_checkudata(L, 1, MTL_TENSOR);
  mt_release(*slot);
  *slot = NULL;
  return 0;
}

/*** Tensors: dense, row-major; float32, uint8 or int32. Axes and indices count from 1.
@classmod Tensor */

/*** Whether a value is a tensor.
@function is_tensor
@param value
@treturn boolean */
static int is_tensor(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, mtl_test_tensor(L, 1) != NULL);
  return 1;
}

/* ---- what it is ---- */

/*** The sizes of all axes.
@function Tensor:shape
@treturn table */
static int shape(lua_State *L) {
  const mt_tensor *t = mtl_check_tensor(L, 1);
  lua_createtable(L, t->ndim, 0);
  for (int i = 0; i < t->ndim; i++) {
    lua_pushinteger(L, t->shape[i]);
    lua_seti(L, -2, i + 1);
  }
  return 1;
}

/*** The size of one axis, or of all as a table.
@function Tensor:size
@tparam[opt] integer axis 1-based, negative from the end
@treturn integer|table */
static int size(lua_State *L) {
  const mt_tensor *t = mtl_check_tensor(L, 1);
  if (lua_isnoneornil(L, 2)) return shape(L);
  lua_pushinteger(L, t->shape[mtl_check_axis(L, 2, t->ndim)]);
  return 1;
}

/*** "float32", "uint8" or "int32".
@function Tensor:dtype
@treturn string */
static int dtype(lua_State *L) {
  lua_pushstring(L, mt_dtype_name(mtl_check_tensor(L, 1)->dtype));
  return 1;
}

/*** The number of axes.
@function Tensor:dim
@treturn integer */
static int dim(lua_State *L) {
  lua_pushinteger(L, mtl_check_tensor(L, 1)->ndim);
  return 1;
}

/*** The number of elements.
@function Tensor:numel
@treturn integer */
static int numel(lua_State *L) {
  lua_pushinteger(L, mtl_check_tensor(L, 1)->count);
  return 1;
}

static int length(lua_State *L) {
  const mt_tensor *t = mtl_check_tensor(L, 1);
  if (t->ndim == 0) return luaL_error(L, "a tensor without axes has no length");
  lua_pushinteger(L, t->shape[0]);
  return 1;
}

/* ---- its values ---- */

/*** The value of a tensor of one element: a float for float32, else an integer.
@function Tensor:item
@treturn number */
static int item(lua_State *L) {
  const mt_tensor *t = mtl_check_tensor(L, 1);
  char text[MT_SHAPE_TEXT];
  if (t->count != 1)
    return luaL_error(L, "item: the tensor has shape %s, expected one element", mt_shape_text(t->ndim, t->shape, text));
  if (t->dtype == MT_FLOAT32)
    lua_pushnumber(L, mt_f32(t)[0]);
  else
    lua_pushinteger(L, t->dtype == MT_UINT8 ? mt_u8(t)[0] : mt_i32(t)[0]);
  return 1;
}

/*** The values as nested tables (a tensor without axes: as a number).
@function Tensor:totable
@treturn table|number */
static int totable(lua_State *L) {
  mtl_push_nested(L, mtl_check_tensor(L, 1));
  return 1;
}

/*** The values as a string of bytes, row-major, in the machine's byte order.
@function Tensor:bytes
@treturn string */
static int bytes(lua_State *L) {
  const mt_tensor *t = mtl_check_tensor(L, 1);
  lua_pushlstring(L, t->data, mt_tensor_bytes(t));
  return 1;
}

/*** The values as another element type. float32 to integers truncates towards zero (add 0.5 to round), numbers
outside the type's range become its nearest value, NaN becomes 0. The tensor itself when it has that type.
@function Tensor:to
@tparam string dtype "float32", "uint8" or "int32"
@treturn Tensor */
static int to(lua_State *L) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  const mt_dtype wanted = mtl_check_dtype(L, 2);
  lua_settop(L, 1);
  if (wanted == t->dtype) return 1;
  MTL_NEW(L, result, mt_cast(t, wanted));
  mtl_push_tensor(L, result);
  return 1;
}

/*** A copy with a buffer of its own; gradients flow through.
@function Tensor:clone
@treturn Tensor */
static int clone(lua_State *L) {
  mt_tensor *result, *t = mtl_check_tensor(L, 1);
  MTL_NEW(L, result, mt_clone(t));
  mtl_push_tensor(L, result);
  return 1;
}

/* ---- registration ---- */

static const luaL_Reg functions[] = {{"is_tensor", is_tensor}, {NULL, NULL}};

static const luaL_Reg methods[] = {
    {"shape", shape},     {"size", size},   {"dtype", dtype}, {"dim", dim},     {"numel", numel}, {"item", item},
    {"totable", totable}, {"bytes", bytes}, {"to", to},       {"clone", clone}, {NULL, NULL},
};

static const luaL_Reg meta[] = {
    {"__gc", collect_tensor},
    {"__len", length},
    {"__newindex", mtl_tensor_newindex},
    {"__tostring", mtl_tensor_tostring},
    {NULL, NULL},
};

void mtl_open_tensor(lua_State *L) {
  luaL_setfuncs(L, functions, 0);
  luaL_setfuncs(L, mtl_tensor_creators, 0);
  luaL_setfuncs(L, mtl_tensor_autograd_functions, 0);
  luaL_setfuncs(L, mtl_tensor_arithmetic_functions, 0);
  luaL_setfuncs(L, mtl_tensor_activations, 0);
  luaL_setfuncs(L, mtl_tensor_joining_functions, 0);
  luaL_setfuncs(L, mtl_tensor_product_functions, 0);

  mtl_new_class(L, MTL_TENSOR, methods, meta);
  luaL_getmetatable(L, MTL_TENSOR);
  luaL_setfuncs(L, mtl_tensor_operators, 0);
  lua_getfield(L, -1, "__index");
  luaL_setfuncs(L, mtl_tensor_autograd_methods, 0);
  luaL_setfuncs(L, mtl_tensor_arithmetic_methods, 0);
  luaL_setfuncs(L, mtl_tensor_activations, 0);
  luaL_setfuncs(L, mtl_tensor_reduction_methods, 0);
  luaL_setfuncs(L, mtl_tensor_shape_methods, 0);
  luaL_setfuncs(L, mtl_tensor_part_methods, 0);
  luaL_setfuncs(L, mtl_tensor_choice_methods, 0);
  luaL_setfuncs(L, mtl_tensor_writing_methods, 0);
  lua_pushcclosure(L, mtl_tensor_index, 1);
  mtl_name_function(L, "index");
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
