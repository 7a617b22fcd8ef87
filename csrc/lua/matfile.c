/* read_mat: MATLAB's files. */
#include <string.h>

#include "io/file.h"
#include "io/matfile.h"
#include "lua/binding.h"

#define ARRAYS "masktune.MatArrays"

static int collect_arrays(lua_State *L) {
  mt_weights_free(luaL_checkudata(L, 1, ARRAYS));
  return 0;
}

static int read_afresh(const char *path, mt_weights *arrays) {
  mt_bytes bytes = {0};
  mt_weights_free(arrays); /* what a first try, cut short by lack of memory, left */
  int status = mt_read_file(path, SIZE_MAX, &bytes);
  if (status == 0) status = mt_matfile_read(bytes.data, bytes.size, path, arrays);
  mt_bytes_free(&bytes);
  return status;
}

/*** Reads the real numeric arrays of a MATLAB file of version 5 to 7 (as scipy.io.savemat and MATLAB's save -v7 write
them). uint8 stays; other integers become int32 (values checked), double and single float32. Everything else in the file
is passed over.
@function read_mat
@tparam string path
@treturn table name -> tensor, with the axes in reverse order: MATLAB's X(i,j,k) is X[k][j][i]
@raise naming the file and what is wrong with it */
static int read_mat(lua_State *L) {
  luaL_checktype(L, 1, LUA_TSTRING);
  const char *path = lua_tostring(L, 1);
  luaL_argcheck(L, *path && strlen(path) == lua_rawlen(L, 1), 1,
                "path expected, got an empty string or one with a zero byte");
  mt_weights *arrays = lua_newuserdatauv(L, sizeof *arrays, 0);
  *arrays = (mt_weights){0};
  luaL_setmetatable(L, ARRAYS);
  MTL_DO(L, read_afresh(path, arrays));
  lua_createtable(L, 0, (int)arrays->n_tensors);
  for (size_t i = 0; i < arrays->n_tensors; i++) {
    mtl_push_tensor(L, mt_retain(arrays->tensors[i].tensor));
    lua_setfield(L, -2, arrays->tensors[i].name);
  }
  mt_weights_free(arrays);
  return 1;
}

void mtl_open_matfile(lua_State *L) {
  static const luaL_Reg none[] = {{NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", collect_arrays}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"read_mat", read_mat}, {NULL, NULL}};
  mtl_new_class(L, ARRAYS, none, meta);
  luaL_setfuncs(L, functions, 0);
}
