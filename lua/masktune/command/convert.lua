--- PyTorch's files as safetensors.
local cli = require "masktune.cli"
local core = require "masktune.core"

return {
  summary = "writes the weights in a PyTorch file (.pth .pt .th) as safetensors; nothing in it is run",
  argument = { name = "FILE", key = "file", kind = cli.kinds.text, help = "a file of weights" },
  options = {
    { name = "to", value = "FILE", kind = cli.kinds.text, help = "the file to write",
      default_text = "FILE with the ending .safetensors" },
    { name = "overwrite", help = "write over it where it is there" },
  },
  example = "masktune convert resnet18-f37072fd.pth --to resnet18.safetensors",
  run = function(o)
    local to = o.to or o.file:gsub("%.%w+$", "") .. ".safetensors"
    if core.file_exists(to) and not o.overwrite then error(("'%s' is there: --overwrite"):format(to), 0) end
    local state, count, numbers = core.load(o.file), 0, 0
    for _, tensor in pairs(state) do
      count, numbers = count + 1, numbers + tensor:numel()
    end
    core.save(to, state)
    local found = { file = to, tensors = count, numbers = numbers }
    return found, ("%s: %d tensors of %d numbers"):format(to, count, numbers)
  end,
}
