--- Arguments that make no sense raise Lua errors in every public function, which say what a user wrote, and do nothing
-- worse.
local process = require "support.process"

--- In kilobytes of address space; sanitizers need terabytes, and then the limit is left out.
local memory_limit = 6 * 2 ^ 20

describe("junk arguments", function()
  it("never crash a function or method, and no message has '?' or a place in masktune's own files", function()
    local script = assert(package.searchpath("support.junk_calls", package.path))
    local limit = ("ulimit -v %d; "):format(memory_limit)
    local limited = process.run(limit .. process.lua .. " -e 'require [[masktune.core]]'")
    process.with_folder(function(folder)
      local ok, output = process.run(("cd %s; %s OMP_NUM_THREADS=1 %s %s %s"):format(process.quoted(folder),
        limited and limit or "", process.lua, process.quoted(script), limited and "wide" or ""))
      assert.is_true(ok, output:sub(-2000))
      assert.is_true(tonumber(output:match "done: (%d+) calls") > 10000)
      local complaints = {}
      for line in output:gmatch "BAD [^\n]*" do
        complaints[#complaints + 1] = line
      end
      assert.same({}, complaints)
    end)
  end)
end)
