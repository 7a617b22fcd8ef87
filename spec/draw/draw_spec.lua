-- Drawings: one description, three kinds of files.
local core = require "masktune.core"
local draw = require "masktune.draw"
local drawings = require "support.drawings"
local mt = require "masktune"
local process = require "support.process"

local with_pixels = drawings.has_cairo and it or pending
local red, green, black = { 255, 0, 0 }, { 0, 255, 0 }, { 0, 0, 0 }

--- Everything that can be drawn.
local function everything()
  local page = draw.new(200, 100)
  page:rectangle(10, 10, 20, 30, red)
  page:path({ { 40, 10 }, { 60, 10 }, { 60, 30 } }, green, 4)
  page:path({ { 40, 50 }, { 100, 50 } }, green, 2, { 6, 4 })
  page:polygon({ { 110, 10 }, { 130, 10 }, { 130, 30 } }, red, 0.5)
  page:disc(150, 20, 8, green, "a <title>")
  page:paste(mt.tensor({ { { 0 }, { 255 } } }, "uint8"), 170, 10)
  page:within({ left = 0, top = 60, right = 50, bottom = 100 }, function() page:rectangle(0, 0, 200, 200, green) end)
  page:text(100, 90, "Aé & <b>\0\n\xff", { size = 12, color = black, anchor = "centre", bold = true })
  page:text(190, 90, "up", { size = 12, color = black, upwards = true })
  return page
end

local function pixel(image, x, y) return image[y + 1][x + 1]:totable() end

describe("a drawing", function()
  it("is well-formed SVG that needs nothing from elsewhere", function()
    local text = everything():svg { label = 'a "label"' }
    for _, part in ipairs {
      'viewBox="0 0 200 100"', 'aria-label="a &quot;label&quot;"', "<title>a &lt;title&gt;</title>",
      'href="data:image/png;base64,', ">A?? &amp; &lt;b&gt;  ?</text>", 'stroke-dasharray="6 4"',
    } do
      assert.truthy(text:find(part, 1, true), part)
    end
    if not process.has "python3" then return end
    process.with_folder(function(folder)
      mt.write_file(folder .. "/x.svg", text)
      local ok, output = process.run(("python3 -c 'import sys, xml.dom.minidom as m; m.parse(sys.argv[1])' %s/x.svg")
        :format(folder))
      assert.is_true(ok, output)
    end)
  end)

  it("takes the colours of a page", function()
    local text = everything():svg { colors = { ["#ff0000"] = "var(--bad)" } }
    assert.truthy(text:find('fill="var(--bad)"', 1, true))
    assert.falsy(text:find('width="100%"', 1, true))
  end)

  with_pixels("has its pixels where they belong", function()
    local image = everything():image()
    assert.same({ 100, 200, 3 }, image:shape())
    assert.same({ 255, 255, 255 }, pixel(image, 0, 0))
    assert.same(red, pixel(image, 10, 10))
    assert.same(red, pixel(image, 29, 39))
    assert.same({ 255, 255, 255 }, pixel(image, 30, 39))
    assert.same(green, pixel(image, 50, 10))
    assert.same(green, pixel(image, 150, 20))
    assert.same({ 255, 127, 127 }, pixel(image, 127, 12))
    assert.same({ 0, 0, 0 }, pixel(image, 170, 10))
    assert.same({ 255, 255, 255 }, pixel(image, 171, 10))
    assert.same(green, pixel(image, 49, 99))
    assert.same({ 255, 255, 255 }, pixel(image, 50, 99))
    assert.same({ 200, 400, 3 }, everything():image(2):shape())
    assert.equal(image:bytes(), everything():image():bytes())
  end)

  with_pixels("measures text at least as wide as it is drawn", function()
    for _, text in ipairs { "Where the net looks", "0123456789.,%+-", "coverage (%)", "WAVE",
      "MaskTune: validation" } do
      local page = draw.new(800, 60)
      page:text(0, 40, text, { size = 30, color = black })
      local columns = page:image():to("float32"):min(3):min(1):totable()
      local last = 0
      for x, value in ipairs(columns) do
        if value < 128 then last = x end
      end
      assert.is_true(last <= draw.text_width(text, 30) + 1 and last > 0.7 * draw.text_width(text, 30), text)
    end
  end)

  with_pixels("is the same PDF each time, with its text as text", function()
    process.with_folder(function(folder)
      local bytes = {}
      for i = 1, 2 do
        assert.equal(folder .. "/x.pdf", everything():write(folder .. "/x.pdf"))
        bytes[i] = mt.read_file(folder .. "/x.pdf")
      end
      assert.equal(bytes[1], bytes[2])
      assert.truthy(bytes[1]:find "^%%PDF%-1")
      assert.truthy(bytes[1]:find("/FontFile", 1, true))
      assert.truthy(bytes[1]:find("/MediaBox %[ 0 0 66.6%d+ 33.3%d+"))
    end)
  end)

  it("becomes the file that its name asks for, or SVG where there is no Cairo, said once", function()
    process.with_folder(function(folder)
      local sheet, said = core.draw.sheet, {}
      local before = mt.notice.to(function(line) said[#said + 1] = line end)
      core.draw.sheet = nil
      local ok, problem = pcall(function()
        assert.equal(folder .. "/a.svg", everything():write(folder .. "/a.png"))
        assert.equal(folder .. "/b.svg", everything():write(folder .. "/b.PDF"))
        assert.truthy(mt.read_file(folder .. "/b.svg"):find('width="66.67pt"', 1, true))
        assert.error_matches(function() everything():image() end, "pixels need Cairo")
        local history = { { epoch = 1, train_accuracy = 0.5 } }
        assert.equal(folder .. "/c.svg", mt.plot(history, { path = folder .. "/c.png", print = false }))
      end)
      core.draw.sheet = sheet
      mt.notice.to(before)
      assert(ok, problem)
      assert.equal(1, #said)
      assert.error_matches(function() everything():write "x.gif" end, "NAME.png, NAME.pdf or NAME.svg expected")
      assert.error_matches(function() everything():write(3) end, "argument 'path'")
    end)
  end)

  with_pixels("says what cannot be drawn", function()
    assert.error_matches(function() draw.new(0, 10):image() end, "sheet: size is 0 x 10 at scale 1")
    assert.error_matches(function() draw.new(40000, 10):image() end, "32767 at most")
    local page = draw.new(10, 10)
    page:rectangle(0, 0, 1 / 0, 1, red)
    assert.error_matches(function() page:image() end, "number in %[%-1e6, 1e6%] expected")
    page = draw.new(10, 10)
    page:paste(mt.ones(2, 2, 2), 0, 0)
    assert.error_matches(function() page:image() end, "image is float32 {2,2,2}, expected uint8")
  end)
end)
