-- For the examples: in a checkout that was built, its own masktune is used, unless LUA_CPATH says which; elsewhere the
-- installed one.
local root = (arg[0]:match("^(.*)/[^/]*$") or ".") .. "/.."
local built = io.open(root .. "/.build/masktune/core.so")
if not built or os.getenv("LUA_CPATH") or os.getenv("LUA_CPATH_5_4") then return end
built:close()
package.path = ("%s/lua/?.lua;%s/lua/?/init.lua;%s/.build/?.lua;%s"):format(root, root, root, package.path)
package.cpath = ("%s/.build/?.so;%s"):format(root, package.cpath)
