--- What this machine and this masktune are.
local core = require "masktune.core"
local folders = require "masktune.data.folders"
local report = require "masktune.report"

local function formats()
  local read, others = core.image.formats()
  return { reads = read, writes = { "png", "jpeg" }, names_only = others }
end

local function gather()
  local machine, memory = core.machine(), core.memory()
  return {
    version = require("masktune")._VERSION, lua = _VERSION,
    isa = core.isa(), threads = core.get_num_threads(), cores = machine.cores,
    memory = { free = machine.memory, resident = memory.resident },
    images = formats().reads,
    cache = folders.cache "" or "none (neither XDG_CACHE_HOME nor HOME is set)",
    data = os.getenv "MASKTUNE_DATA" or "not set",
  }
end

local function text_of(found)
  local function bytes(count) return count < math.huge and ("%.1f GB"):format(count / 2 ^ 30) or "unlimited" end
  return report.table({ "", "" }, {
    { "version", found.version }, { "Lua", found.lua }, { "instruction set", found.isa },
    { "threads", ("%d of %d cores"):format(found.threads, found.cores) },
    { "memory", bytes(found.memory.free) .. " free" }, { "reads images", table.concat(found.images, " ") },
    { "cache", found.cache }, { "$MASKTUNE_DATA", found.data },
  }):gsub("^[^\n]*\n[^\n]*\n", "")
end

return {
  summary = "what this machine and this masktune are: threads, instruction set, formats, folders",
  example = "masktune info --json",
  options = {},
  run = function()
    local found = gather()
    return found, (text_of(found))
  end,
}
