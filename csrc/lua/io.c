#include "lua/binding.h"

void mtl_open_io(lua_State *L) { (void)L; }
