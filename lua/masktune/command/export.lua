--- A run's net for others.
local cli = require "masktune.cli"
local core = require "masktune.core"
local onnx = require "masktune.onnx"
local options = require "masktune.command.parts.options"
local project = require "masktune.command.parts.project"

--- Ending of a file's name -> what writes it.
local writers = {
  safetensors = function(run, model, path)
    local names = table.concat(run.settings.class_names, "\n")
    core.save(path, model:state_dict(), { net = run.settings.net, class_names = names })
    return "weights with PyTorch's names and layouts: safetensors.torch.load_file reads them"
  end,
  onnx = function(run, model, path)
    local size = run.settings.size
    onnx.export(path, model, { size = { size, size, 3 }, class_names = run.settings.class_names })
    return ("ONNX, opset %d: input `images` float32 {N,3,%d,%d} in [0,1], output `logits` {N,%d}"):format(
      onnx.opset, size, size, run.settings.classes)
  end,
}

local function file_name(text)
  if writers[text:lower():match("%.(%w+)$") or ""] then return text end
  return nil, "NAME.safetensors or NAME.onnx"
end

return {
  summary = "writes the net of a run as NAME.safetensors (for PyTorch) or NAME.onnx",
  argument = { name = "FILE", key = "file", kind = file_name, help = "NAME.safetensors or NAME.onnx" },
  options = {
    options.out,
    { name = "model", value = "WHICH", kind = cli.kinds.choice { "initial", "final" },
      default_text = "final where there is one", help = "initial or final" },
    { name = "overwrite", help = "write over FILE where it is there" },
  },
  example = "masktune export net.onnx --out out/photos",
  run = function(o)
    if core.file_exists(o.file) and not o.overwrite then error(("'%s' is there: --overwrite"):format(o.file), 0) end
    local run = project.open(o)
    local which = o.model or run:latest()
    local what = writers[o.file:lower():match("%.(%w+)$")](run, run:model(which), o.file)
    return { file = o.file, model = which, format = what }, ("%s: the %s net, %s"):format(o.file, which, what)
  end,
}
