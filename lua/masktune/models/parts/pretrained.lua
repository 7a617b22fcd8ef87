--- Published weights: where they lie, how they are fetched and checked, and how they go into a net of other classes.
-- @module masktune.models.parts.pretrained
local check = require "masktune.check"
local core = require "masktune.core"
local download = require "masktune.data.download"
local folders = require "masktune.data.folders"
local notice = require "masktune.notice"
local preprocess = require "masktune.data.preprocess"
local sorted_names = require("masktune.names").sorted

local pretrained = {}

-- The mean and standard deviation of ImageNet's pixels in [0,1], which torchvision's weights expect to be taken out.
pretrained.imagenet = { mean = { 0.485, 0.456, 0.406 }, std = { 0.229, 0.224, 0.225 } }

--- The options that nets with published weights have. `pretrained`: a file, or true for the published one.
pretrained.schema = {
  pretrained = { choices = { true, false }, type = "string", default = false },
  freeze = { choices = { "backbone" }, optional = true },
}

local function program_output(command)
  local pipe = io.popen(command .. " 2>/dev/null", "r")
  local output = pipe and pipe:read("a") or ""
  if pipe then pipe:close() end
  return output
end

--- The SHA-256 of a file, by coreutils' or Perl's program; nil where neither is installed.
local function sha256(path)
  local quoted = "'" .. path:gsub("'", "'\\''") .. "'"
  for _, program in ipairs { "sha256sum", "shasum -a 256" } do
    local sum = program_output(program .. " " .. quoted):match("^\\?(%x+)")
    if sum and #sum == 64 then return sum end
  end
end

--- What is wrong with a file of weights; nil where its SHA-256 begins as it should (PyTorch's files have the beginning
-- in their names).
function pretrained.problem(path, published)
  local sum = sha256(path)
  if not sum then return "its SHA-256 cannot be computed: neither sha256sum nor shasum is installed" end
  if sum:sub(1, #published.sha256) == published.sha256 then return nil end
  return ("its SHA-256 begins with %s, expected %s"):format(sum:sub(1, #published.sha256), published.sha256)
end

local function set(value) return value and value ~= "" and value or nil end

--- Where a published file may lie: masktune's cache folder, and PyTorch's.
local function places(file)
  local list = { folders.cache "weights" }
  local torch = set(os.getenv "TORCH_HOME") or set(os.getenv "HOME") and os.getenv "HOME" .. "/.cache/torch"
  list[#list + 1] = torch and torch .. "/hub/checkpoints"
  for i, folder in ipairs(list) do
    list[i] = folder .. "/" .. file
  end
  return list
end

--- How to put the file there by hand.
local function by_hand(published, path)
  local from = published.url and published.url .. published.file or published.source
  return ("To place it by hand: get %s (%s) and put it at %s, or give its path: pretrained = FILE"):format(
    published.file, from, path)
end

--- The path of a published file: found, or fetched.
function pretrained.find(where, published)
  local candidates = places(published.file)
  if #candidates == 0 then check.fail("%s: option 'pretrained': neither XDG_CACHE_HOME nor HOME is set", where) end
  for _, path in ipairs(candidates) do
    if core.file_exists(path) then
      local problem = pretrained.problem(path, published)
      if problem then check.fail("%s: '%s' is damaged: %s", where, path, problem) end
      return path
    end
  end
  local path = candidates[1]
  if not published.url then
    check.fail("%s: the published weights are not at %s. %s", where, table.concat(candidates, " nor "),
      by_hand(published, path))
  end
  core.make_directory(path:match("^(.*)/"))
  local fetched, problem = pcall(download.fetch, {
    mirrors = { published.url }, name = published.file, path = path, timeout = 20, log = notice.say,
    problem = function(temporary) return pretrained.problem(temporary, published) end,
  })
  if not fetched then
    check.fail("%s: %s\n%s", where, tostring(problem):gsub("^mt.data.download: ", ""), by_hand(published, path))
  end
  return path
end

--- The weights of the file with the net's own head in place of one for other classes.
local function fit_head(where, model, state, published)
  local own = model:state_dict()
  local mine = own[published.head[1]]
  local theirs = state[published.head[1]]
  if not theirs or theirs:size(1) == mine:size(1) then return state end
  local fitted = {}
  for name, tensor in pairs(state) do
    fitted[name] = tensor
  end
  for _, name in ipairs(published.head) do
    fitted[name] = own[name]
  end
  notice.say("%s: the weights have %d classes, the net %d: its head ('%s') starts anew", where, theirs:size(1),
    mine:size(1), published.head[1]:match("^(.*)%.[^.]*$"))
  return fitted
end

--- The first of the names in `a` that `b` lacks, and how many there are.
local function lacking(a, b)
  local names = sorted_names(a, function(name) return b[name] == nil end)
  return names[1], #names
end

--- Loads weights; those of another net are named as such, in a sentence instead of a list of everything.
local function load_into(where, model, state, path)
  local loaded, problem = pcall(model.load_state_dict, model, state)
  if loaded then return end
  local own = model:state_dict()
  local missing, count = lacking(own, state)
  local foreign = lacking(state, own)
  if not (missing and foreign) then error(problem, 0) end
  check.fail("%s: '%s' holds the weights of another net: %d names are missing, such as '%s', and there are others, "
    .. "such as '%s'", where, path, count, missing, foreign)
end

--- Loads weights into a net as its options say, and freezes what they say.
-- @string where the net's name, for messages
-- @tparam Module model
-- @tparam table o options as of `schema`
-- @tparam table published `file`, `sha256` (its beginning), `url` (folder it is published in) or `source` (where else
-- it comes from, in words), `head`: the names of the last layer's parameters, `mean` and `std` of the pixels they were
-- trained with, which become the model's `preprocess`
-- @treturn Module model
function pretrained.apply(where, model, o, published)
  if o.pretrained then
    local path = o.pretrained == true and pretrained.find(where, published) or o.pretrained
    local state = core.load(path)
    load_into(where, model, fit_head(where, model, state, published), path)
    model.preprocess = preprocess { { "normalize", mean = published.mean, std = published.std } }
  end
  if o.freeze == "backbone" then
    model:freeze()
    model:get(published.head[1]:match("^(.*)%.[^.]*$")):unfreeze()
  end
  return model
end

return pretrained
