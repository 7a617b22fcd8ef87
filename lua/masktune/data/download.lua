--- Files from the web, through the programs curl or wget.
-- A file appears under its name only when it is whole and right; until then it is a temporary one.
-- @module masktune.data.download
local core = require "masktune.core"
local dist = require "masktune.dist"

--- A word for the shell that stands for exactly this text.
local function quoted(text)
  if text:find("\0", 1, true) then error("mt.data.download: a name holds a zero byte", 0) end
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- Runs a program; its output (both streams) and exit status.
local function run(words)
  local parts = {}
  for i, word in ipairs(words) do
    parts[i] = quoted(word)
  end
  local pipe = assert(io.popen(table.concat(parts, " ") .. " 2>&1", "r"))
  local output = pipe:read("a")
  local _, _, status = pipe:close()
  return output, status
end

--- Program -> its arguments for one transfer and its reason for a failure, from what it printed.
-- Both give up when no data came for `timeout` seconds, however long the whole transfer takes.
local programs = {
  {
    name = "curl",
    arguments = function(url, path, timeout)
      return {
        "curl", "--fail", "--silent", "--show-error", "--location", "--proto", "=http,https",
        "--connect-timeout", timeout, "--speed-limit", "1", "--speed-time", timeout, "--output", path, "--", url,
      }
    end,
    reason = function(output) return output:match("curl: %(%d+%) ([^\r\n]+)") end,
  },
  {
    name = "wget",
    arguments = function(url, path, timeout)
      return { "wget", "--no-verbose", "--tries=1", "--timeout=" .. timeout, "--output-document=" .. path, "--", url }
    end,
    reason = function(output) return output:match("ERROR ([^\r\n]+)") or output:match("([^\r\n]+)[\r\n]*$") end,
  },
}

local function available_program()
  for _, program in ipairs(programs) do
    local _, status = run { "sh", "-c", "command -v " .. program.name }
    if status == 0 then return program end
  end
  error("mt.data.download: neither curl nor wget is installed; install one (apt-get install curl)", 0)
end

--- nil when `url` lies at `path` afterwards, else the reason.
local function transfer(program, url, path, timeout)
  local output, status = run(program.arguments(url, path, tostring(timeout)))
  if status == 0 then return nil end
  return program.reason(output) or ("%s failed with status %s"):format(program.name, status)
end

--- Tries one mirror; nil when the file is in place afterwards, else the reason.
local function try(program, url, request)
  local temporary = os.tmpname()
  local ok, reason = pcall(function()
    local failure = transfer(program, url, temporary, request.timeout) or request.problem(temporary)
    if not failure then core.write_file(request.path, core.read_file(temporary)) end
    return failure
  end)
  os.remove(temporary)
  if not ok then error(reason, 0) end
  return reason
end

local download = {}

--- What is wrong with a downloaded gzip file, as a text; nil when its uncompressed content has this md5.
-- @string path
-- @string md5
function download.md5_problem(path, md5)
  local ok, content = pcall(core.gunzip, path)
  if not ok then return (tostring(content):gsub("^.-'" .. path:gsub("%p", "%%%0") .. "'", "the file", 1)) end
  local sum = core.md5(content)
  return sum ~= md5 and ("md5 of the content is %s, expected %s"):format(sum, md5) or nil
end

--- What is wrong with a downloaded file, as a text; nil when it has this md5.
-- @string path
-- @string md5
function download.file_md5_problem(path, md5)
  local sum = core.md5(core.read_file(path))
  return sum ~= md5 and ("its md5 is %s, expected %s"):format(sum, md5) or nil
end

--- The options of every function that downloads a data set.
-- @tparam {string,...} mirrors those of the data set
function download.option_schema(mirrors)
  return {
    root = { type = "string", optional = true },
    mirrors = { type = "list", of = { type = "string" }, min_length = 1, default = mirrors },
    timeout = { type = "integer", min = 1, default = 20 },
    log = { type = "function", default = function(line) io.stderr:write(line, "\n") end },
  }
end

local function fetch_here(request)
  local program = available_program()
  local failures = {}
  for _, mirror in ipairs(request.mirrors) do
    local url = mirror:gsub("/?$", "/", 1) .. request.name
    request.log("downloading " .. url)
    local reason = try(program, url, request)
    if not reason then return end
    failures[#failures + 1] = ("\n  %s: %s"):format(url, reason)
  end
  error(("mt.data.download: no mirror gave %s:%s"):format(request.name, table.concat(failures)), 0)
end

local function problem_of_fetch(request)
  local fetched, problem = pcall(fetch_here, request)
  return fetched and "" or tostring(problem)
end

--- Fetches one file from the first mirror that has it right. Of several ranks the first does, for all.
-- @tparam table request `mirrors` (base URLs, ending in /), `name`, `path` (where it goes), `timeout` (seconds without
-- data), `log` (called with a line of text), `problem` (function (path) -> a text when the file is not the right one)
-- @raise with every mirror and its reason
function download.fetch(request)
  dist.barrier("a download") -- all have seen that the file is missing
  local problem = dist.from_first(problem_of_fetch, request)
  if problem ~= "" then error(problem, 0) end
end

return download
