-- Feeds damaged files to the readers that are written in Lua:
--   lua5.4 spec/fuzz/readers.lua READER SECONDS [RUNS [SEED]]
-- Each may succeed or fail, with a message that names the file; it may not crash, hang, or ask for much memory.
local mt = require "masktune"
local files = require "data.files"
local matfile = require "support.matfile"
local tar = require "masktune.data.tar"
local tarfile = require "support.tarfile"

local reader, seconds, runs, seed = arg[1], tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4]) or 1
local folder = assert(os.getenv "FUZZ_FOLDER", "FUZZ_FOLDER: a folder for the damaged file")
local found = assert(os.getenv "FUZZ_FOUND", "FUZZ_FOUND: a folder for a file that was read badly")
local MOST_SECONDS = 1

--- An SVHN of `count` images, all of the digit 0.
local function svhn(count)
  return matfile.file(matfile.array { name = "X", sizes = { 32, 32, 3, count }, values = ("\7"):rep(3072 * count) },
    matfile.array { name = "y", sizes = { count, 1 }, values = ("\10"):rep(count) })
end

local idx = files.idx

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
    seeds = { svhn(1), svhn(2) },
    read = function() return mt.data.svhn { root = folder, split = "test" } end,
  },
  tar = {
    name = "a.tar",
    seeds = { tarfile.archive("f/", { { "f/a", "abc" }, { "f/b", "" } }) },
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
