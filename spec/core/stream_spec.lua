--- Results that are written past the cache have the same bits as others.
local mt = require "masktune"
local process = require "support.process"

--- Prints a digest of what every operation that streams gives, forward and backward.
local script = [[
  local mt = require "masktune"
  mt.manual_seed(1)
  local function show(name, ...)
    for i, t in ipairs{ ... } do
      local values = t:bytes()
      local a, b = 1, 0
      for at = 1, #values do
        a = (a + values:byte(at)) % 65521
        b = (b + a) % 65521
      end
      print(name, i, #values, a, b)
    end
  end
  for _, n in ipairs{ 64, 515, 700 } do -- rows that begin at lines of the cache, and others
    local x = mt.randn(7, n):requires_grad(true)
    local y = (mt.rand(7, n) + 0.5):requires_grad(true)
    local row = mt.randn(n):requires_grad(true)
    local column = mt.randn(7, 1):requires_grad(true)
    local index = (mt.rand(7, n) * n):floor():to("int32") + 1
    local integers = (mt.randn(7, n) * 100):to("int32")
    local operations = {
      exp = function() return x:exp() end,
      relu = function() return x:relu() end,
      clamp = function() return x:clamp(-1, 1) end,
      gelu = function() return x:gelu() end,
      add = function() return x + y end,
      ["add row"] = function() return x + row end,
      ["multiply column"] = function() return x * column end,
      divide = function() return x / y end,
      power = function() return y ^ x end,
      maximum = function() return mt.maximum(x, y) end,
      where = function() return mt.where(x:gt(0), x, column) end,
      cat = function() return mt.cat({ x, y, x }, 2) end,
      stack = function() return mt.stack({ x, y }, 2) end,
      gather = function() return x:gather(2, index) end,
      softmax = function() return x:softmax(2) end,
      log_softmax = function() return x:log_softmax(2) end,
      clone = function() return x:clone() end,
      transposed = function() return x:transpose(1, 2):exp() end,
      part = function() return x:narrow(2, 2, n - 3):sqrt() end,
    }
    local names = {}
    for name in pairs(operations) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do
      for _, leaf in ipairs{ x, y, row, column } do leaf:zero_grad() end
      local result = operations[name]()
      result:backward(mt.randn(table.unpack(result:shape())))
      local all = { result }
      for _, leaf in ipairs{ x, y, row, column } do all[#all + 1] = leaf:grad() end
      show(name .. " " .. n, table.unpack(all))
    end
    show("integers " .. n, integers + integers, mt.where(x:gt(0), integers, integers * 2), integers:gather(2, index))
    show("bytes " .. n, mt.where(x:gt(0), x:lt(1), x:lt(-1)))
    -- An odd start, and a result that is an operand.
    local flat = x:detach():reshape(7 * n)
    show("odd " .. n, flat[{ { 2, 7 * n } }]:exp(), flat[{ { 4, 7 * n } }] + flat[{ { 1, 7 * n - 3 } }])
  end
]]

local function output_with(cache, isa)
  local ok, output = process.run(("MASKTUNE_NUM_THREADS=2 MASKTUNE_CACHE=%s MASKTUNE_ISA=%s %s -e %s"):format(
    cache,
    isa,
    process.lua,
    process.quoted(script)
  ))
  assert(ok, output)
  return output
end

describe("what is written past the cache", function()
  local isa_here = mt.isa()
  for _, isa in ipairs{ "plain", "avx2", "avx512" } do
    if pcall(mt.isa, isa) then
      mt.isa(isa_here)
      it("has the same bits (" .. isa .. ")", function()
        local streamed, kept = output_with("1000", isa), output_with("1000000000000", isa)
        assert.truthy(kept:find("softmax 700"))
        assert.equal(kept, streamed)
      end)
    end
  end
end)
