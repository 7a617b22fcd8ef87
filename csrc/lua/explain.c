#include "lua/binding.h"

void mtl_open_explain(lua_State *L) { (void)L; }
