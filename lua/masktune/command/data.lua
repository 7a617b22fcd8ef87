--- Known data sets: are they there, and whole?
local cli = require "masktune.cli"
local data = require "masktune.data"
local registry = require "masktune.registry"
local suggestion = require("masktune.words").suggestion

--- Data sets that masktune fetches.
local FETCHED = { mnist = true, cifar10 = true, svhn = true }
--- Entries of the registry that are no data sets by themselves.
local OTHERS = { biased_mnist = true, synthetic_digits = true, image_folder = true, csv = true }

local function names()
  local list = {}
  for _, name in ipairs(registry.names(data.sets)) do
    if not OTHERS[name] and not name:find "^download_" and not name:find "^find_" then list[#list + 1] = name end
  end
  return list
end

local function known(text)
  local list = names()
  for _, name in ipairs(list) do
    if name == text then return name end
  end
  return nil, "one of " .. table.concat(list, ", ") .. suggestion(text, list)
end

local SPLITS = { mnist = { "train", "test" }, cifar10 = { "train", "test" }, svhn = { "train", "test" },
  cats_dogs = { "train", "test" }, background_challenge = { "train", "val" } }

--- Reads every split: name -> images.
local function count(name, root)
  local found = {}
  for _, split in ipairs(SPLITS[name] or { "train", "val", "test" }) do
    local set = data.sets[name] { root = root, split = split }
    found[split] = data.size(set)
  end
  return found
end

local function get(name, o)
  local there, found = pcall(count, name, o.data)
  if there then return found end
  if not FETCHED[name] or o.check or o.data then error(found, 0) end
  data.sets["download_" .. name] {}
  return count(name)
end

return {
  summary = "gets a known data set, or checks whether it is there and whole",
  about = "mnist, cifar10 and svhn are fetched where they are not found ($MASKTUNE_DATA, ./data, the cache folder); of"
    .. "\nthe others --data says where their publishers' files lie.",
  argument = { name = "NAME", key = "name", kind = known, optional = true, help = "left out: the list" },
  options = {
    { name = "data", value = "DIR", kind = cli.kinds.text, help = "where it lies" },
    { name = "check", help = "only look, fetch nothing" },
  },
  example = "masktune data mnist\nmasktune data waterbirds --data photos/waterbirds_v1.0",
  run = function(o)
    if not o.name then return names(), table.concat(names(), "\n") end
    local found, parts = get(o.name, o), {}
    for split, images in pairs(found) do
      parts[#parts + 1] = ("%s %d"):format(split, images)
    end
    table.sort(parts)
    return found, ("%s: %s images"):format(o.name, table.concat(parts, ", "))
  end,
}
