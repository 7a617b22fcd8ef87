#include "lua/binding.h"

void mtl_open_image(lua_State *L) { (void)L; }
