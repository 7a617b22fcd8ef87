#include "lua/binding.h"

void mtl_open_module(lua_State *L) { (void)L; }
