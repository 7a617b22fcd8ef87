--- Other programs, as a spec sees them.
local process = {}

function process.quoted(text)
  return "'" .. text:gsub("'", [['\'']]) .. "'"
end

--- Runs a shell command. Gives whether it succeeded, and what it printed on both outputs.
function process.run(command)
  local pipe = assert(io.popen("exec 2>&1; " .. command))
  local output = pipe:read("a")
  return pipe:close() == true, output
end

--- Whether a program is installed.
function process.has(program)
  return (process.run("command -v " .. process.quoted(program)))
end

--- Calls f with the path of a fresh folder that is gone afterwards, whatever happens.
function process.with_folder(f)
  local ok, output = process.run("mktemp -d")
  assert(ok, output)
  local folder = output:match("^[^\n]+")
  local results = table.pack(pcall(f, folder))
  process.run("rm -rf " .. process.quoted(folder))
  if not results[1] then
    error(results[2], 0)
  end
  return table.unpack(results, 2, results.n)
end

--- The interpreter to run scripts with; make says which.
process.lua = os.getenv("LUA") or "lua5.4"

return process
