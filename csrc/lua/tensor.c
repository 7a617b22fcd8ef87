#include "lua/binding.h"

static int collect_tensor(lua_State *L) {
  mt_tensor **slot = luaL_checkudata(L, 1, MTL_TENSOR);
  mt_release(*slot);
  *slot = NULL;
  return 0;
}

static int zeros(lua_State *L) {
  int64_t shape[MT_MAX_DIMS];
  mt_tensor *t;
  const int ndim = mtl_check_shape(L, 1, shape);
  MTL_NEW(L, t, mt_tensor_zeros(MT_FLOAT32, ndim, shape));
  mtl_push_tensor(L, t);
  return 1;
}

static const luaL_Reg functions[] = {{"zeros", zeros}, {NULL, NULL}};
static const luaL_Reg methods[] = {{NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", collect_tensor}, {NULL, NULL}};

void mtl_open_tensor(lua_State *L) {
  mtl_new_class(L, MTL_TENSOR, methods, meta);
  luaL_setfuncs(L, functions, 0);
}
