-- Feeds damaged files to the readers that are written in Lua:
--   lua5.4 spec/fuzz/readers.lua READER SECONDS [RUNS [SEED]]
-- Each may succeed or fail, with a message that names the file; it may not crash, hang, or ask for much memory.
local mt = require "masktune"
local tar = require "masktune.data.tar"

local reader, seconds, runs, seed = arg[1], tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4]) or 1
local folder = assert(os.getenv "FUZZ_FOLDER", "FUZZ_FOLDER: a folder for the damaged file")
local found = assert(os.getenv "FUZZ_FOUND", "FUZZ_FOUND: a folder for a file that was read badly")
local MOST_SECONDS = 1

local function idx(shape, data)
  return (">I4"):pack(0x800 | #shape) .. (">I4"):rep(#shape):pack(table.unpack(shape)) .. data
end

local function tar_header(name, size)
  local header = name .. ("\0"):rep(100 - #name) .. "0000644\0" .. ("0000000\0"):rep(2) .. ("%011o\0"):format(size)
    .. "00000000000\0" .. (" "):rep(8) .. "0" .. ("\0"):rep(100) .. "ustar\00000"
  header = header .. ("\0"):rep(512 - #header)
  local sum = 0
  for position = 1, 512 do
    sum = sum + header:byte(position)
  end
  return header:sub(1, 148) .. ("%06o\0 "):format(sum) .. header:sub(157)
end

local function mat(count)
  local function element(kind, data) return ("<I4I4"):pack(kind, #data) .. data .. ("\0"):rep(-#data % 8) end
  local function array(name, sizes, values)
    return element(14, element(6, ("<I4I4"):pack(9, 0)) .. element(5, ("<i4"):rep(#sizes):pack(table.unpack(sizes)))
      .. element(1, name) .. element(2, values))
  end
  return ("MATLAB 5.0"):rep(12):sub(1, 116) .. ("\0"):rep(8) .. "\0\1IM"
    .. array("X", { 32, 32, 3, count }, ("\7"):rep(3072 * count)) .. array("y", { count, 1 }, ("\10"):rep(count))
end

--- Reader -> the `name` of its file, valid `seeds`, and how it is `read`.
local readers = {
  idx = {
    name = "images-idx3-ubyte",
    seeds = {
      idx({ 2, 3, 4 }, ("x"):rep(24)), idx({ 5 }, "01234"), mt.gzip(idx({ 3, 0 }, "")), mt.gzip(idx({ 2, 2 }, "abcd")),
    },
    read = function(path) return mt.data.read_idx(path) end,
  },
  cifar10 = {
    name = "test_batch.bin",
    seeds = { "\3" .. ("x"):rep(3072), "\9" .. ("y"):rep(3072) .. "\0" .. ("z"):rep(3072) },
    read = function() return mt.data.cifar10 { root = folder, split = "test", published = false } end,
  },
  svhn = {
    name = "test_32x32.mat",
    seeds = { mat(1), mat(2) },
    read = function() return mt.data.svhn { root = folder, split = "test" } end,
  },
  tar = {
    name = "a.tar",
    seeds = { tar_header("a", 3) .. "abc" .. ("\0"):rep(509) .. tar_header("b", 0) .. ("\0"):rep(1024) },
    read = function(path)
      for _, first, last in tar.files(mt.read_file(path), path) do
        assert(first >= 1 and last >= first - 1)
      end
    end,
  },
}

-- ---- damage ----

math.randomseed(seed)
local random = math.random
local odd_values = { "\0\0\0\0", "\255\255\255\255", "\127\255\255\255", "\128\0\0\0", "\0\0\0\1", "\0\1\0\0" }

local function spliced(content, from, to, middle) return content:sub(1, from - 1) .. middle .. content:sub(to) end

local kinds = {
  function(content, at) return spliced(content, at, at + 1, string.char(random(0, 255))) end,
  function(content, at)
    return spliced(content, at, at + 1, string.char((content:byte(at) or 0) ~ 1 << random(0, 7)))
  end,
  function(content, at) return spliced(content, at, at + 4, odd_values[random(#odd_values)]) end,
  function(content, at) return content:sub(1, at - 1) end,
  function(content, at) return spliced(content, at, at, ("?"):rep(random(1, 9))) end,
  function(content, at) return spliced(content, at, at + random(1, 9), "") end,
  function(content, at) return spliced(content, at, at, content:sub(at, at + random(1, 40))) end,
}

--- A position; half of them near the start, where the sizes are.
local function place(content) return random(1, math.max(1, random(2) == 1 and math.min(#content, 200) or #content)) end

local function damaged(seeds)
  local content = seeds[random(#seeds)]
  for _ = 1, random(1, 4) do
    content = kinds[random(#kinds)](content, place(content))
  end
  return content
end

-- ---- the loop ----

local subject = assert(readers[reader], "reader: idx, cifar10, svhn or tar expected")
local path = folder .. "/" .. subject.name

local function write(content)
  local file <close> = assert(io.open(path, "wb"))
  file:write(content)
end

local function complain(content, what)
  local kept = ("%s/%s-%d"):format(found, reader, seed)
  local file <close> = assert(io.open(kept, "wb"))
  file:write(content)
  error(("%s; the file is %s"):format(what, kept), 0)
end

local started, done, good = mt.clock(), 0, 0
while (not runs or done < runs) and mt.clock() - started < seconds do
  local content = damaged(subject.seeds)
  write(content)
  local before = mt.clock()
  local ok, message = pcall(subject.read, path)
  if mt.clock() - before > MOST_SECONDS then complain(content, "it took longer than a second") end
  if not ok and not (type(message) == "string" and message:find(subject.name, 1, true)) then
    complain(content, "the message does not name the file: " .. tostring(message))
  end
  done, good = done + 1, good + (ok and 1 or 0)
end
local peak = mt.memory().peak
if peak > 256 << 20 then error(("%s: %d MiB of memory"):format(reader, peak >> 20), 0) end
print(("%s: %d files, %d of them readable, %.0f s, at most %.1f MiB"):format(reader, done, good, mt.clock() - started,
  peak / 2 ^ 20))
