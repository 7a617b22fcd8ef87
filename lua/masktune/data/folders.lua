--- Where published data sets lie on this machine.
-- @module masktune.data.folders
local core = require "masktune.core"

local folders = {}

local function set(value) return value and value ~= "" and value or nil end

--- The folder masktune keeps a data set in for this user: $XDG_CACHE_HOME/masktune/NAME, else ~/.cache/masktune/NAME.
-- @string name
-- @treturn ?string nil where neither XDG_CACHE_HOME nor HOME is set
function folders.cache(name)
  local base, home = set(os.getenv "XDG_CACHE_HOME"), set(os.getenv "HOME")
  base = base or home and home .. "/.cache"
  return base and base .. "/masktune/" .. name
end

--- Looks for a data set in `root`; without it in $MASKTUNE_DATA, ./data and the user's cache folder, in this order; and
-- in each under the given names.
-- @tparam ?string root
-- @tparam {string,...} names the first is that of the cache folder
-- @tparam function holds (folder) -> whether it is all there
-- @treturn ?string folder; nil where no place has it
-- @treturn ?table the folders that were looked at, when none has it
-- @treturn ?string the same for messages, in few words
function folders.find(root, names, holds)
  local bases, searched = { root }, {}
  if not root then
    bases[1] = set(os.getenv "MASKTUNE_DATA")
    bases[#bases + 1] = "./data"
    bases[#bases + 1] = folders.cache(names[1])
  end
  for _, base in ipairs(bases) do
    searched[#searched + 1] = base
    for _, name in ipairs(names) do
      searched[#searched + 1] = base .. "/" .. name
    end
  end
  for _, folder in ipairs(searched) do
    if holds(folder) then return folder end
  end
  return nil, searched, ("%s (directly, or in %s)"):format(table.concat(bases, ", "), table.concat(names, ", "))
end

--- Whether there is a regular file of this name.
function folders.has_file(path) return core.path_kind(path) == "file" end

--- What else lies where a data set was looked for: the same data in another form, with what to do about it.
-- @tparam {string,...} searched folders
-- @tparam {{string,string},...} forms a file or folder in one of them, and a text
-- @treturn string "; 'PATH' is TEXT" for the first that is there, else ""
function folders.hint(searched, forms)
  for _, folder in ipairs(searched) do
    for _, form in ipairs(forms) do
      local path = folder .. "/" .. form[1]
      if core.path_kind(path) then return ("; '%s' is %s"):format(path, form[2]) end
    end
  end
  return ""
end

--- The folder to download into.
-- @string where the public function, for the message
-- @tparam ?string root
-- @string name
-- @treturn string
function folders.target(where, root, name)
  local folder = root or folders.cache(name)
  if folder then return folder end
  error(where .. ": option 'root' is needed where neither XDG_CACHE_HOME nor HOME is set", 3)
end

return folders
