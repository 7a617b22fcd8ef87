#include "lua/binding.h"

void mtl_open_optim(lua_State *L) { (void)L; }
