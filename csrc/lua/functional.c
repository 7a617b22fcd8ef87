#include "lua/binding.h"

void mtl_open_functional(lua_State *L) { (void)L; }
