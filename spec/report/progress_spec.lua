local mt = require "masktune"

--- A stream that collects, and a clock that is set by hand.
local function stage()
  local stream = { written = {} }
  function stream:write(text) self.written[#self.written + 1] = text end
  function stream.flush() end
  local time = { now = 100 }
  return stream, time, function() return time.now end
end

describe("progress on a terminal", function()
  it("shows label, bar, counts, loss, accuracy, rate and time left in one line that fits", function()
    local stream, time, clock = stage()
    local bar = mt.progress {
      total = 1000, label = "epoch 1", unit = "img", stream = stream, terminal = true, clock = clock,
    }
    time.now = 110
    bar:update(500, { loss = 0.25, accuracy = 0.9 })
    local line = stream.written[1]
    assert.matches("^\repoch 1 %[#+%.+%] 500/1000  loss 0%.2500  accuracy 90%.00%%  50 img/s  0:10 left$", line)
    local filled, empty = line:match("%[(#+)(%.+)%]")
    assert.is_true(math.abs(#filled - #empty) <= 1)
    assert.is_true(#line <= 80)
  end)

  it("redraws at most ten times a second, however often it is updated", function()
    local stream, time, clock = stage()
    local bar = mt.progress { total = 1000, stream = stream, terminal = true, clock = clock }
    for i = 1, 1000 do
      time.now = 100 + i / 1000
      bar:update(i)
    end
    assert.is_true(#stream.written >= 5 and #stream.written <= 10)
  end)

  it("covers what a longer line left behind", function()
    local stream, time, clock = stage()
    local bar = mt.progress { total = 10, stream = stream, terminal = true, clock = clock }
    time.now = 101
    bar:update(1, { loss = 123456.0 })
    time.now = 102
    bar:update(2, { loss = 0.1 })
    assert.is_true(#stream.written[2] >= #stream.written[1])
  end)

  it("ends its line once", function()
    local stream, time, clock = stage()
    local bar = mt.progress { total = 10, stream = stream, terminal = true, clock = clock }
    time.now = 165
    bar:update(10)
    bar:finish()
    bar:finish()
    assert.equal(2, #stream.written)
    assert.matches("10/10.* 1:05 *\n$", stream.written[2])
  end)

  it("keeps a line that is too long for the terminal within its width", function()
    local stream, time, clock = stage()
    local bar = mt.progress { total = 10, label = ("x"):rep(200), stream = stream, terminal = true, clock = clock }
    time.now = 101
    bar:update(1)
    assert.is_true(#stream.written[1] <= (tonumber(os.getenv("COLUMNS")) or 80))
  end)
end)

describe("progress on a pipe", function()
  it("writes plain lines, one every few seconds and one at the end", function()
    local stream, time, clock = stage()
    local bar = mt.progress { total = 100, label = "masking", stream = stream, terminal = false, clock = clock }
    for i = 1, 100 do
      time.now = 100 + i / 10
      bar:update(i, { loss = 1 })
    end
    bar:finish()
    assert.equal(3, #stream.written)
    for _, line in ipairs(stream.written) do
      assert.matches("^masking: %d+/100, loss 1%.0000, 10 items/s, [%d:]+[^\r]*\n$", line)
    end
  end)

  it("is what a stream other than standard error gets", function()
    local stream, _, clock = stage()
    mt.progress({ total = 0, stream = stream, clock = clock }):finish()
    assert.same({ "0/0, 0:00\n" }, stream.written)
  end)
end)

describe("progress", function()
  it("refuses counts beyond the total, unknown options and a missing total", function()
    local stream, _, clock = stage()
    local bar = mt.progress { total = 10, stream = stream, clock = clock }
    assert.error_matches(function() bar:update(11) end, "argument 'done': integer in %[0, 10%] expected, got 11")
    assert.error_matches(function() bar:update(1, { acc = 1 }) end, "unknown option 'acc'")
    assert.error_matches(function() mt.progress { label = "x" } end, "option 'total': integer >= 0 expected, got nil")
  end)

  it("shows hours where there are some", function()
    local stream, time, clock = stage()
    local bar = mt.progress { total = 4, stream = stream, clock = clock }
    time.now = 100 + 3600
    bar:update(1)
    assert.matches("3:00:00 left", stream.written[1])
  end)
end)

describe("progress on a terminal whose width changes", function()
  --- The last line drawn at a width, with everything there is to say.
  local function line_at(width)
    local stream, time, clock = stage()
    local bar = mt.progress {
      total = 48000, label = "ERM 12/20", unit = "images", stream = stream, terminal = true, clock = clock,
      width = function() return width end,
    }
    time.now = 160
    bar:update(12345, { loss = 0.1234, accuracy = 0.9876 })
    bar:finish { loss = 0.1234, accuracy = 0.9876, validation = 0.9543 }
    return stream.written[#stream.written]:match "^\r(.-) *\n?$"
  end

  it("never fills a line, and never cuts a number", function()
    for width = 8, 140 do
      local line = line_at(width)
      assert.is_true(#line < width or #line <= #"12345/48000", line)
      for word in line:gmatch "%S*%d%S*" do
        assert.truthy(("ERM 12/20 12345/48000 0.1234 98.76% 95.43% 206 1:00"):find(word, 1, true), line)
      end
    end
  end)

  it("shows the validation accuracy when an epoch ends", function()
    assert.truthy(line_at(120):find("validation 95.43%", 1, true))
  end)
end)
