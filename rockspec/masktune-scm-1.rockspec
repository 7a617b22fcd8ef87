rockspec_format = "3.0"
package = "masktune"
version = "scm-1"
source = {
  url = "git+https://localhost/masktune.git",
}
description = {
  summary = "Image classifiers that do not lean on shortcuts: MaskTune for Lua",
  detailed = "Tensors with automatic differentiation, conv nets, class activation maps and the MaskTune recipe, in C and Lua.",
  license = "MIT",
}
dependencies = {
  "lua ~> 5.4",
}
build = {
  type = "make",
  variables = {
    LUA = "$(LUA)",
    LUA_INCDIR = "$(LUA_INCDIR)",
    CFLAGS = "$(CFLAGS) -O3", -- luarocks gives -O2 by default
    LDFLAGS = "$(LIBFLAG)",
  },
  install_variables = {
    LUADIR = "$(LUADIR)",
    LIBDIR = "$(LIBDIR)",
    BINDIR = "$(BINDIR)",
  },
}
