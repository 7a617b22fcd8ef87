-- Run when the core is built: `lua native.lua FILE.c... > native_docs.lua`. Writes the documentation comments of the
-- core's binding, by name (of a part as a whole: "@" and its name), as a Lua module for masktune.help: compiled
-- functions do not know where their source is.
local folder = arg[0]:match("^(.*)/[^/]*$") or "."
local comments = dofile(folder .. "/comments.lua")

local texts, names = {}, {}
for _, path in ipairs(arg) do
  local file = assert(io.open(path))
  for _, text in ipairs(comments.of_c(file:read "a")) do
    local part = text:match("@module%s+(%S+)") or text:match("@classmod%s+(%S+)")
    local name = part and "@" .. part or text:match("@function%s+(%S+)")
    if name then
      if texts[name] then error(("%s: '%s' is documented twice"):format(path, name), 0) end
      texts[name], names[#names + 1] = text, name
    end
  end
  file:close()
end
table.sort(names)
print "return {"
for _, name in ipairs(names) do
  print(("  [%q] = %q,"):format(name, texts[name]))
end
print "}"
