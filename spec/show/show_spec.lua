local drawings = require "support.drawings"
local mt = require "masktune"
local process = require "support.process"

--- A picture of squares of known colours, so that whatever shows it can be read back.
local function chart(height, width)
  local image = mt.zeros({ height, width, 3 }, "uint8")
  for row = 1, height do
    for column = 1, width do
      image[{ row, column }] = mt.tensor({ row % 2 * 255, column % 3 * 102, 51 }, { dtype = "uint8" })
    end
  end
  return image
end

--- The pixels of half-block text, as a list of rows of "r;g;b".
local function pixels_of(text)
  local rows = {}
  for line in text:gmatch "[^\n]+" do
    local upper, lower, front, back = {}, {}, nil, nil
    for code in line:gmatch "(\27?%[?[%d;]*m?)\u{2580}" do
      if #code > 0 then
        front = code:match "38;2;(%d+;%d+;%d+)"
        back = code:match "48;2;(%d+;%d+;%d+)m$"
      end
      upper[#upper + 1], lower[#lower + 1] = front, back
    end
    rows[#rows + 1] = upper
    if #lower > 0 then rows[#rows + 1] = lower end
  end
  return rows
end

local function expected_pixels(image)
  local rows = {}
  for row, line in ipairs(image:totable()) do
    rows[row] = {}
    for column, pixel in ipairs(line) do
      rows[row][column] = table.concat(pixel, ";")
    end
  end
  return rows
end

local function from_base64(text)
  local bits, count, bytes = 0, 0, {}
  local digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  for digit in text:gmatch "[^=]" do
    bits, count = bits << 6 | digits:find(digit, 1, true) - 1, count + 6
    if count >= 8 then
      count = count - 8
      bytes[#bytes + 1] = string.char(bits >> count & 255)
    end
  end
  return table.concat(bytes)
end

describe("mt.show", function()
  it("draws with half blocks, two pixels a character", function()
    for _, height in ipairs { 6, 7 } do
      local image = chart(height, 9)
      assert.same(expected_pixels(image), pixels_of(mt.show(image, { way = "blocks", print = false })))
    end
  end)

  it("shrinks what is wider than the terminal", function()
    local rows = pixels_of(mt.show(chart(40, 80), { way = "blocks", print = false, columns = 20 }))
    assert.equal(10, #rows)
    assert.equal(20, #rows[1])
  end)

  it("speaks kitty's protocol, whose parts are a PNG file", function()
    local image = mt.rand(60, 60, 3, { generator = mt.generator(1) })
    local text = mt.show(image, { way = "kitty", print = false })
    local parts, more = {}, {}
    for keys, part in text:gmatch "\27_G([^;]*);([^\27]*)\27\\" do
      assert.is_true(#part <= 4096)
      parts[#parts + 1], more[#more + 1] = part, keys:match "m=(%d)"
    end
    assert.is_true(#parts > 1)
    assert.equal(("1"):rep(#parts - 1) .. "0", table.concat(more))
    process.with_folder(function(folder)
      mt.write_file(folder .. "/shown.png", from_base64(table.concat(parts)))
      local back = mt.image.read_png(folder .. "/shown.png"):to "float32" / 255
      assert.is_true((back - image):abs():max():item() <= 0.5 / 255 + 1e-6) -- rounding to bytes
    end)
  end)

  it("speaks sixel, as libsixel reads it", function()
    if not process.run "command -v sixel2png" then
      pending "no sixel2png (Debian's libsixel-bin)"
      return
    end
    process.with_folder(function(folder)
      local image = chart(20, 31)
      mt.write_file(folder .. "/shown.six", mt.show(image, { way = "sixel", print = false }))
      assert.is_true((process.run(("sixel2png -i %s/shown.six -o %s/shown.png"):format(folder, folder))))
      local back = mt.image.read_png(folder .. "/shown.png", { channels = 3 })
      assert.same({ 20, 31, 3 }, back:shape())
      assert.is_true((back:to "float32" - image:to "float32"):abs():max():item() <= 1)
    end)
  end)

  it("writes a file where there is no terminal, and prints its path", function()
    process.with_folder(function(folder)
      local path = folder .. "/shown.png"
      local _, output = process.run(("%s -e %s"):format(process.lua, process.quoted(
        ("local mt = require 'masktune'; mt.show(mt.ones(4, 5, 3), { path = '%s' })"):format(path))))
      assert.equal(path, output:match "^[^\n]*")
      assert.same({ 4, 5, 3 }, mt.image.read_png(path):shape())
    end)
  end)

  it("puts several images side by side, and heatmaps over them", function()
    local images, heat = mt.zeros({ 3, 8, 8, 1 }, "uint8"), mt.rand(3, 4, 4)
    local rows = pixels_of(mt.show(images, heat, { way = "blocks", print = false, columns = 200 }))
    assert.equal(3 * 8 + 4 * 2, #rows[1])
    assert.not_equal("0;0;0", rows[4][4])
  end)

  it("says what images look like", function()
    assert.error_matches(function() mt.show(mt.rand(3, 20, 20)) end, "got {3,20,20}; channels come last here", 1, true)
    assert.error_matches(function() mt.show "x" end, "mt.show: argument 'images': tensor expected, got 'x'", 1, true)
    assert.error_matches(function() mt.show(mt.rand(4)) end, "got {4}", 1, true)
    assert.error_matches(function() mt.show(mt.rand(4, 4), { way = "smoke" }) end, "way")
  end)
end)

describe("mt.plot", function()
  local history = {
    { epoch = 1, train_accuracy = 0.5, val_accuracy = 0.4, val_worst_class = 0.1 },
    { epoch = 2, train_accuracy = 0.9, val_accuracy = 0.8, val_worst_class = 0.7 },
  }

  it("draws a history, or the history of a result", function()
    process.with_folder(function(folder)
      local pictures = {}
      for i, what in ipairs { history, { history = history } } do
        local path = ("%s/%d.%s"):format(folder, i, drawings.has_cairo and "png" or "svg")
        assert.equal(path, mt.plot(what, { way = "file", path = path, print = false, title = "Digits" }))
        pictures[i] = mt.read_file(path)
      end
      assert.equal(pictures[1], pictures[2])
    end)
  end)

  it("says what it cannot draw", function()
    assert.error_matches(function() mt.plot {} end, "mt.plot: argument 'history': the history of mt.train", 1, true)
    assert.error_matches(function() mt.plot(3) end, "got 3", 1, true)
  end)
end)
