-- What the benchmarks share: processes that are told what to do line by line, a folder for a run, medians.
local process = {}

--- A word of a shell's command line.
function process.quoted(text)
  return "'" .. text:gsub("'", [['\'']]) .. "'"
end

local quoted = process.quoted

function process.median(values)
  local sorted = table.move(values, 1, #values, 1, {})
  table.sort(sorted)
  return (sorted[(#sorted + 1) // 2] + sorted[#sorted // 2 + 1]) / 2
end

--- Starts a command whose standard input is a FIFO: what it prints, and where it is told things, each line at once. The
-- FIFO may be removed when the command has printed something.
function process.start(command, fifo)
  assert(os.execute("mkfifo " .. quoted(fifo)))
  local replies = assert(io.popen(("%s <%s"):format(command, quoted(fifo))))
  local requests = assert(io.open(fifo, "w"))
  requests:setvbuf("line")
  return replies, requests
end

--- Calls f(options, folder) with a temporary folder, which is gone afterwards, also where f fails.
function process.with_folder(f, options)
  local temporary = assert(io.popen("mktemp -d"))
  local folder = temporary:read()
  temporary:close()
  local ok, message = pcall(f, options, folder)
  os.execute("rm -rf " .. quoted(folder))
  if not ok then error(message, 0) end
end

return process
