#include "lua/binding.h"

void mtl_open_random(lua_State *L) { (void)L; }
