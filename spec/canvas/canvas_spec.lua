local canvas = require "masktune.canvas"
local font = require "masktune.canvas.font"

local black, white = { 0, 0, 0 }, { 255, 255, 255 }

--- The share of ink of every pixel: rows of numbers from 0 (white) to 1 (black).
local function ink(page)
  return (1 - page.image:narrow(3, 1, 1):to("float32"):squeeze(3) / 255):totable()
end

local function total(rows)
  local sum = 0
  for _, row in ipairs(rows) do
    for _, share in ipairs(row) do
      sum = sum + share
    end
  end
  return sum
end

describe("a canvas", function()
  it("draws lines as wide and as long as they are told, smooth at the edges", function()
    local page = canvas.new(200, 150)
    page:path({ { 20, 70.5 }, { 180, 70.5 } }, black, 4)
    local rows = ink(page)
    assert.is_true(math.abs(rows[70][100] - 1) < 0.01 and math.abs(rows[73][100] - 1) < 0.01)
    assert.equal(0, rows[75][100])
    assert.is_true(math.abs(total(rows) - (160 * 4 + math.pi * 4)) < 6) -- with its round ends
    page = canvas.new(200, 150)
    page:path({ { 20, 20 }, { 140, 110 } }, black, 3)
    assert.is_true(math.abs(total(ink(page)) - (150 * 3 + math.pi * 2.25)) < 6)
  end)

  it("draws across tiles as within one", function()
    local at = {}
    for i, shift in ipairs { 0, 7, 31 } do
      local page = canvas.new(200, 200)
      page:path({ { 10 + shift, 12 + shift }, { 120 + shift, 80 + shift }, { 60 + shift, 150 + shift } }, black, 5)
      at[i] = page.image:narrow(1, 1 + shift, 165):narrow(2, 1 + shift, 135):bytes()
    end
    assert.is_true(at[1] == at[2])
    assert.is_true(at[1] == at[3])
  end)

  it("leaves gaps in dashed lines", function()
    local page = canvas.new(100, 20)
    page:path({ { 0, 10 }, { 99, 10 } }, black, 2, { 10, 10 })
    local row = ink(page)[11]
    for x, dashed in pairs { [5] = true, [15] = false, [25] = true, [35] = false, [95] = false } do
      assert.equal(dashed, row[x + 1] > 0.9)
    end
  end)

  it("mixes bands with what is below", function()
    local page = canvas.new(10, 10)
    page:band({ { 4, 2, 7 } }, black, 0.5)
    local rows = ink(page)
    assert.is_true(math.abs(rows[5][5] - 0.5) < 0.01)
    assert.equal(0, rows[5][4])
    assert.equal(0, rows[10][5])
  end)

  it("draws nothing outside itself or outside a box", function()
    local page = canvas.new(20, 20)
    page:disc(100, 100, 5, black)
    page:path({ { -50, 10 }, { 70, 10 } }, black, 2)
    assert.is_true(ink(page)[11][20] > 0.9)
    page = canvas.new(20, 20)
    page:within({ left = 5, top = 0, right = 9, bottom = 100 }, function() page:disc(10, 10, 30, black) end)
    assert.equal(5 * 20, total(ink(page)))
    page:disc(15, 10, 1, black)
    assert.is_true(total(ink(page)) > 5 * 20)
  end)

  it("writes text where it is anchored, and upwards", function()
    local width, height = canvas.text_width("H0H", 40), canvas.cap_height(40)
    local function box(x, y, style)
      local page = canvas.new(300, 300)
      style.size, style.color = 40, black
      page:text(x, y, "H0H", style)
      local left, right, top, bottom = 300, 0, 300, 0
      for row, values in ipairs(ink(page)) do
        for column, share in ipairs(values) do
          if share > 0.5 then
            left, right = math.min(left, column - 1), math.max(right, column - 1)
            top, bottom = math.min(top, row - 1), math.max(bottom, row - 1)
          end
        end
      end
      return left, right, top, bottom
    end
    local function near(a, b) assert.is_true(math.abs(a - b) <= 3, ("%s is not near %s"):format(a, b)) end
    for anchor, start in pairs { left = 150, centre = 150 - width / 2, right = 150 - width } do
      local left, right, top, bottom = box(150, 100, { anchor = anchor })
      near(left, start)
      near(right, start + width)
      near(top, 100 - height)
      near(bottom, 100)
    end
    local left, right, top, bottom = box(150, 150, { anchor = "centre", upwards = true })
    near(left, 150 - height)
    near(right, 150)
    near(top, 150 - width / 2)
    near(bottom, 150 + width / 2)
  end)

  it("starts white, or in a colour", function()
    assert.equal(0, total(ink(canvas.new(3, 2))))
    assert.same({ { { 1, 2, 3 } } }, canvas.new(1, 1, { 1, 2, 3 }).image:totable())
    local page = canvas.new(4, 4, black)
    page:rectangle(1, 1, 2, 2, white)
    assert.equal(12, total(ink(page)))
  end)
end)

describe("the font", function()
  it("has every letter, digit and the marks of plots, each its own", function()
    local shapes, count = {}, 0
    local marks = ".,:;-+±=%()[]/<>_*'\"!?#"
    local all = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" .. marks
    for character in all:gmatch(utf8.charpattern) do
      local points = {}
      font.each_stroke(character, function(stroke)
        for _, point in ipairs(stroke) do
          assert.is_true(point[1] >= -1 and point[1] <= font.width(character) + 1, character)
          assert.is_true(point[2] >= -4 and point[2] <= 16, character)
          points[#points + 1] = ("%.3f,%.3f"):format(point[1], point[2])
        end
        points[#points + 1] = "|"
      end)
      shapes[table.concat(points, " ")] = character
      count = count + 1
    end
    local different = 0
    for _ in pairs(shapes) do
      different = different + 1
    end
    assert.equal(count, different)
  end)

  it("shows boxes for what it does not have, also where the text is no UTF-8", function()
    assert.equal(font.width("ä"), font.width("\xff"))
    assert.equal(0, font.width(""))
    assert.is_true(font.width("ab") > font.width("a") + font.width("b"))
  end)
end)
