/* luaopen_masktune_core: the table that lua/masktune/init.lua builds the public module from. */
#include "lua/binding.h"

__attribute__((visibility("default"))) int luaopen_masktune_core(lua_State *L);

int luaopen_masktune_core(lua_State *L) {
  luaL_checkversion(L);
  /* A second require (after package.loaded was cleared) gets the same table: classes are registered once. */
  if (lua_getfield(L, LUA_REGISTRYINDEX, "masktune.core") == LUA_TTABLE) return 1;
  lua_newtable(L);
  mtl_open_tensor(L);
  mtl_open_random(L);
  mtl_open_functional(L);
  mtl_open_functional_nn(L);
  mtl_open_loss(L);
  mtl_open_operation(L);
  mtl_open_module(L);
  mtl_open_optim(L);
  mtl_open_cam(L);
  mtl_open_explain(L);
  mtl_open_image(L);
  mtl_open_paint(L);
  mtl_open_picture_files(L);
  mtl_open_image_grid(L);
  mtl_open_augment(L);
  mtl_open_data(L);
  mtl_open_masks(L);
  mtl_open_io(L);
  mtl_open_matfile(L);
  mtl_open_world(L);
  mtl_open_process(L);
  mtl_open_draw(L);
  mtl_open_server(L);
  mtl_open_system(L);
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, "masktune.core");
  return 1;
}
