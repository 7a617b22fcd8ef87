-- Completion at Lua's prompt.
local mt = require "masktune"
local process = require "support.process"

local q = process.quoted

--- Runs the interpreter at a terminal; `typed`: what is typed, a line at a time, each after the answer to the one
-- before. Gives all that the terminal shows.
local function session(typed, environment)
  local program = [==[
import os, pty, select, sys, time
typed = [bytes(line, "utf8").decode("unicode_escape") for line in sys.argv[2:]]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], [sys.argv[1], "-i"])
shown = b""
def read(quiet, most):
    global shown
    ends, last = time.time() + most, time.time()
    while time.time() < min(ends, last + quiet):
        if select.select([terminal], [], [], 0.05)[0]:
            try: shown += os.read(terminal, 65536)
            except OSError: return
            last = time.time()
read(0.5, 10)
for line in typed:
    os.write(terminal, line.encode())
    read(0.7, 10)
os.close(terminal)
sys.stdout.buffer.write(shown)
]==]
  local arguments = {}
  for i, line in ipairs(typed) do
    arguments[i] = q(line)
  end
  return select(2, process.run(("%s TERM=dumb timeout 60 python3 -c %s %s %s"):format(environment, q(program),
    q(process.lua), table.concat(arguments, " "))))
end

--- The module, without its line on standard error where there is no line editor.
local function quiet_repl()
  local output = io.stderr
  io.stderr = io.tmpfile() -- luacheck: ignore
  local loaded, repl = pcall(require, "masktune.repl")
  io.stderr = output -- luacheck: ignore
  assert(loaded, repl)
  return repl
end

describe("masktune.repl", function()
  local repl = quiet_repl()

  it("knows what a word can become", function()
    assert.same({ "mt.conv2d", "mt.conv2d_batch_norm" }, repl.complete "mt.conv2d")
    assert.same({ "mt.image.resize", "mt.image.resized_crop" }, repl.complete "mt.image.resi")
    assert.same({ "mt.models.small_cnn" }, repl.complete "mt.models.small")
    assert.same({ "string.format" }, repl.complete "string.form")
    assert.same({ "require" }, repl.complete "requi")
    for _, word in ipairs { "mt.conv9", "nothing.at.all", "1.5", "mt.image.resize.x", "a:b:c", "mt..x", ".", "(",
      "x y" } do
      assert.same({}, repl.complete(word), word)
    end
  end)

  it("knows methods, and objects whose fields make trouble", function()
    _G.thing, _G.net = mt.ones(2), mt.nn.Linear(2, 3)
    _G.trouble = setmetatable({}, { __index = error, __pairs = error })
    _G.word = "text"
    assert.same({ "thing:argmax", "thing:argsort" }, repl.complete "thing:arg")
    assert.same({ "net:state_dict" }, repl.complete "net:state")
    assert.same({ "word:format" }, repl.complete "word:form")
    assert.same({}, repl.complete "trouble.")
    assert.same({}, repl.complete "trouble.x.y")
    assert.is_true(#repl.complete "thing:" > 50)
    _G.thing, _G.net, _G.trouble, _G.word = nil, nil, nil, nil
  end)

  it("lists every public name for rlwrap", function()
    local words = table.concat(repl.words(), "\n") .. "\n"
    for _, word in ipairs { "mt.conv2d", "mt.image.resize", "mt.cam.xgradcam", "argsort", "state_dict" } do
      assert.truthy(words:find("\n" .. word .. "\n", 1, true), word)
    end
  end)

  it("completes in the stock interpreter", function()
    if not pcall(require, "readline") then return pending "no lua-readline (Debian's)" end
    if not process.has "python3" then return pending "no python3" end
    process.with_folder(function(folder)
      local shown = session({ [[repl = require "masktune.repl"\n]], [[print(mt.conv2d_b\t == mt.conv2d_batch_norm)\n]],
        [[t = mt.ones(1)\n]], [[print(t:nume\t() + 40)\n]], [[print(nothing.at.a\t == nil)\n]], "print('alive')\\n" },
        "HOME=" .. folder)
      assert.truthy(shown:find("\ntrue\r?\n"), shown)
      assert.truthy(shown:find("\n41\r?\n"), shown)
      assert.truthy(shown:find("\nalive\r?\n"), shown)
    end)
  end)

  it("says how to complete where there is no readline module", function()
    process.with_folder(function(folder)
      local script = [[package.preload.readline = function() error "none" end require "masktune.repl"]]
      local ok, output = process.run(("XDG_CACHE_HOME=%s %s -e %s"):format(folder, process.lua, q(script)))
      assert.is_true(ok, output)
      local path = output:match "rlwrap .* %-f (%S+) lua5.4"
      assert.equal(folder .. "/masktune/repl-words", path)
      assert.truthy(mt.read_file(path):find("\nmt.conv2d\n", 1, true))
    end)
  end)
end)
