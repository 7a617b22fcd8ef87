-- The manual's Lua is what happens: the blocks of each page run, one after the other, as a script.
local mt = require "masktune"
local process = require "support.process"

local FOLDER = "examples/manual"

describe("the manual", function()
  local pages = {}
  for _, name in ipairs(mt.list_directory(FOLDER)) do
    if name:find "%.md$" then pages[#pages + 1] = name end
  end
  table.sort(pages)

  it("is found", function() assert.is_true(#pages >= 5) end)

  for _, name in ipairs(pages) do
    it(("page %s runs as a script #nosan"):format(name), function()
      local blocks = {}
      for block in mt.read_file(FOLDER .. "/" .. name):gmatch "\n```lua\n(.-)\n```" do
        blocks[#blocks + 1] = block
      end
      process.with_folder(function(folder)
        mt.write_file(folder .. "/page.lua", table.concat(blocks, "\n") .. "\nprint 'the end'\n")
        local ok, output = process.run(("cd %s && timeout 120 %s page.lua"):format(process.quoted(folder),
          process.quoted(process.lua)))
        assert.is_true(ok, output)
        assert.truthy(output:find "the end\n$", output)
      end)
    end)
  end
end)
