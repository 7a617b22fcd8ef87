local process = require "support.process"

-- The folder that this suite's own core was built in: nothing has to be compiled again. A surrounding make's flags are
-- not for these.
local core = assert(package.searchpath("masktune.core", package.cpath))
local build = assert(core:match("^(.*)/masktune/core%.so$"))
local environment = ("env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL BUILD=%s "):format(process.quoted(build))

local function run_in(tree, script)
  local lua_path = ("%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua"):format(tree, tree)
  return process.run(("cd / && LUA_PATH=%s LUA_CPATH=%s %s -e %s"):format(
    process.quoted(lua_path),
    process.quoted(tree .. "/lib/lua/5.4/?.so"),
    process.lua,
    process.quoted(script)
  ))
end

local function assert_works(tree)
  local ok, output = run_in(tree, [[print(require("masktune").ones(2, 3):sum():item())]])
  assert.is_true(ok, output)
  assert.equal("6.0", output:match("%S+"))
  local parts_ok, parts = run_in(tree, [[
    local mt = require "masktune"
    for _, part in ipairs{ "models", "data", "schedule", "metrics" } do assert(type(mt[part]) == "table", part) end
  ]])
  assert.is_true(parts_ok, parts)
end

--- The installed command runs, wherever it was put and whatever the folder it is called from.
local function assert_command(folder)
  local ok, output = process.run(("cd / && env -u LUA_PATH -u LUA_CPATH %s info --json"):format(
    process.quoted(folder .. "/bin/masktune")))
  assert.is_true(ok, output)
  assert.truthy(output:find('"version": "masktune scm-1"', 1, true), output)
end

local function files_below(folder)
  local _, output = process.run("find " .. process.quoted(folder) .. " -type f")
  return output
end

describe("an installed masktune #nosan", function()
  it("works from the folders that make install fills, and make uninstall empties them", function()
    process.with_folder(function(folder)
      local prefix = "PREFIX=" .. process.quoted(folder .. "/usr")
      local ok, output = process.run(environment .. "make install " .. prefix)
      assert.is_true(ok, output)
      assert_works(folder .. "/usr")
      assert_command(folder .. "/usr")
      ok, output = process.run(environment .. "make uninstall " .. prefix)
      assert.is_true(ok, output)
      assert.equal("", files_below(folder))
    end)
  end)

  it("goes below DESTDIR, as packagers need it", function()
    process.with_folder(function(folder)
      local ok, output = process.run(environment .. "make install PREFIX=/usr DESTDIR=" .. process.quoted(folder))
      assert.is_true(ok, output)
      assert_works(folder .. "/usr")
    end)
  end)

  it("works from a tree that luarocks make fills", function()
    if not process.has("luarocks") then
      pending("luarocks is not installed")
      return
    end
    process.with_folder(function(folder)
      local ok, output = process.run(
        environment
          .. "luarocks --lua-version 5.4 make --tree "
          .. process.quoted(folder)
          .. " rockspec/masktune-scm-1.rockspec"
      )
      assert.is_true(ok, output)
      assert_works(folder)
      assert_command(folder)
    end)
  end)
end)
