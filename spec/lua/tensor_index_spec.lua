--- t[key] and t[key] = value: rows, ranges, masks, lists of numbers; and which tensors may be written to.
local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local reference = require "support.reference"
local process = require "support.process"

local function fails(f, message) assert.error_matches(f, message) end
local function grid(...) return mt.arange(0, select("#", ...) == 2 and (...) * select(2, ...) or 24):reshape(...) end

--- The places of one axis that an entry of a key names.
local function places_of(entry, n)
  if type(entry) == "number" then return { entry < 0 and n + 1 + entry or entry } end
  local first, last, places = entry[1] or 1, entry[2] or n, {}
  first, last = first < 0 and n + 1 + first or first, last < 0 and n + 1 + last or last
  for place = first, last, entry[3] or 1 do places[#places + 1] = place end
  return places
end

--- What x[key] is, by definition; x an array of support.reference, key a list of numbers and ranges.
local function part(x, key)
  local places, shape, singles = {}, {}, {}
  for axis, n in ipairs(x.shape) do
    places[axis] = places_of(key[axis] or {}, n)
    singles[axis] = type(key[axis]) == "number"
    if not singles[axis] then shape[#shape + 1] = #places[axis] end
  end
  return reference.build(shape, function(p)
    local position, at = {}, 0
    for axis in ipairs(x.shape) do
      if not singles[axis] then at = at + 1 end
      position[axis] = places[axis][singles[axis] and 1 or p[at]]
    end
    return x[reference.flat(x.shape, position)]
  end)
end

local keys = {
  { {}, "{}" }, { { 2 }, "{2}" }, { { -1, 3 }, "{-1, 3}" }, { { 1, 2, 4 }, "{1, 2, 4}" },
  { { { 1, 2 } }, "{{1, 2}}" }, { { {}, { 2, 3 } }, "{{}, {2, 3}}" }, { { 2, { 2, 3 } }, "{2, {2, 3}}" },
  { { 2, 3, { -3, -2 } }, "{2, 3, {-3, -2}}" }, { { {}, 2 }, "{{}, 2}" }, { { {}, {}, 1 }, "{{}, {}, 1}" },
  { { {}, {}, { 1, -1, 2 } }, "{{}, {}, {1, -1, 2}}" }, { { { 1, 2, 2 }, { 1, 3, 2 } }, "{{1, 2, 2}, {1, 3, 2}}" },
  { { {}, { 3, 2 } }, "{{}, {3, 2}}" }, { { { 2, 2 }, 1, { 2, 4 } }, "{{2, 2}, 1, {2, 4}}" },
}

describe("t[{...}]", function()
  for _, case in ipairs(keys) do
    local key, text = table.unpack(case)
    it("with " .. text .. " reads the part, with its gradient", function()
      gradcheck.check{
        ours = function(x) return x[key] end,
        reference = function(x) return part(x, key) end,
        inputs = { { shape = { 2, 3, 4 } } },
      }
    end)

    it("with " .. text .. " writes the part and nothing else", function()
      for _, dtype in ipairs{ "float32", "uint8", "int32" } do
        local t = mt.zeros({ 2, 3, 4 }, dtype)
        t[key] = 7
        assert.same(t[key]:numel() * 7, math.tointeger(t:sum():item()))
        for _, value in ipairs(reference.from_tensor(t[key])) do assert.equal(7, math.tointeger(value)) end
        local values = mt.arange(t[key]:numel()):reshape(t[key]:shape())
        t[key] = values
        assert.equal(values:to(dtype):bytes(), t[key]:bytes())
        assert.equal(values:sum():item(), t:to("float32"):sum():item())
      end
    end)
  end

  it("broadcasts and converts what is written", function()
    local t = mt.zeros(2, 3)
    t[{ {}, { 2, 3 } }] = mt.tensor{ 1, 2 }
    assert.same({ { 0.0, 1.0, 2.0 }, { 0.0, 1.0, 2.0 } }, t:totable())
    t[{ {}, 1 }] = mt.tensor({ 8, 9 }, "uint8")
    assert.same({ { 8.0, 1.0, 2.0 }, { 9.0, 1.0, 2.0 } }, t:totable())
    t[{ 1, 1 }] = mt.tensor{ { 5 } }
    assert.equal(5.0, t[1][1]:item())
    local scalar = mt.zeros{}
    scalar[{}] = 3
    assert.equal(3.0, scalar:item())
    local bytes = mt.zeros(3, "uint8")
    bytes[{ { 2, 3 } }] = mt.tensor{ -4, 300.5 }
    assert.same({ 0, 0, 255 }, bytes:totable())
  end)

  it("writes parts that overlap what they come from", function()
    local t = mt.arange(6)
    t[{ { 2, 6 } }] = t[{ { 1, 5 } }]
    assert.same({ 0.0, 0.0, 1.0, 2.0, 3.0, 4.0 }, t:totable())
    local m = grid(3, 3)
    m[{ {}, { 2, 3 } }] = m[{ {}, { 1, 2 } }]
    assert.same({ { 0.0, 0.0, 1.0 }, { 3.0, 3.0, 4.0 }, { 6.0, 6.0, 7.0 } }, m:totable())
    m:copy(m[1])
    assert.same({ 0.0, 0.0, 1.0 }, m[3]:totable())
  end)

  it("chooses along one axis by a mask or by numbers", function()
    local t = grid(3, 4)
    local numbers, mask = mt.tensor({ 4, 1, 1 }, "int32"), mt.tensor({ 0, 1, 0, 1 }, "uint8")
    assert.same({ { 3.0, 0.0, 0.0 }, { 7.0, 4.0, 4.0 }, { 11.0, 8.0, 8.0 } }, t[{ {}, numbers }]:totable())
    assert.same({ { 5.0, 7.0 }, { 9.0, 11.0 } }, t[{ { 2, 3 }, mask }]:totable())
    assert.same({ 11.0, 8.0, 8.0 }, t[{ -1, numbers }]:totable())
    t[{ { 1, 2 }, mask }] = mt.tensor{ { -1, -2 } }
    assert.same({ { 0.0, -1.0, 2.0, -2.0 }, { 4.0, -1.0, 6.0, -2.0 } }, t[{ { 1, 2 } }]:totable())
    t[{ 3, numbers }] = mt.tensor{ 1, 2, 3 } -- of the two values for place 1 the last one counts
    assert.same({ 3.0, 9.0, 10.0, 1.0 }, t[3]:totable())
  end)

  it("adds up the gradients of numbers that come twice", function()
    gradcheck.check{
      ours = function(x, i) return x[{ { 2, 3 }, i }] end,
      reference = function(x, i)
        return reference.build({ 2, #i }, function(p) return x[reference.flat(x.shape, { p[1] + 1, i[p[2]] })] end)
      end,
      inputs = { { shape = { 3, 4 } }, { shape = { 5 }, values = { 2, 4, 2, 1, 2 }, dtype = "int32" } },
    }
  end)

  it("says which axis and value is wrong", function()
    local t = mt.zeros(2, 3)
    fails(function() return t[{ 3 }] end, "tensor index: axis 1: 3, expected 1..2 or %-1..%-2")
    fails(function() return t[{ {}, 0 }] end, "axis 2: 0, expected 1..3 or %-1..%-3")
    fails(function() return t[{ {}, { 2, 4 } }] end, "axis 2: range {2, 4}, expected one within 1..3")
    fails(function() return t[{ {}, { 3, 1 } }] end, "axis 2: range {3, 1}")
    fails(function() return t[{ {}, { 1, 3, 0 } }] end, "axis 2: step 0, expected 1 or more")
    fails(function() return t[{ {}, { 1 } }] end, "axis 2: {first, last}, {first, last, step} or {} of integers")
    fails(function() return t[{ {}, { 1, 1.5 } }] end, "axis 2: {first, last}")
    fails(function() return t[{ 1, 1, 1 }] end, "3 axes, but the tensor's shape is {2,3}")
    fails(function() return t[{ "x" }] end, "axis 1: integer, {first, last}, {} or tensor expected, got x")
    fails(function() return t[{ first = 1 }] end, "the table has the key 'first', expected a list without gaps")
    fails(function() return t[{ {}, { first = 1 } }] end, "axis 2 has the key 'first'")
    fails(function() return t[{ nil, 2 }] end, "tensor index: ")
    fails(function() return t[{ {}, mt.ones(3) }] end, "axis 2: an int32 tensor {n} or a uint8 mask {3} expected")
    fails(function() return t[{ {}, mt.ones(2, "uint8") }] end, "uint8 mask {3} expected, got uint8 {2}")
    fails(function() return t[{ {}, mt.tensor({ 4 }, "int32") }] end,
      "element 1 of the list is 4, expected 1..3 %(axis 2 of {2,3}%)")
    local two = mt.tensor({ 1, 2 }, "int32")
    fails(function() return t[{ two, two }] end, "axes 1 and 2 are both chosen by tensors, expected one; see gather")
    fails(function() t[{ {}, { 1, 2 } }] = mt.zeros(3) end,
      "the values have shape {3}, expected one that broadcasts to {2,2}")
    fails(function() t[{ 1 }] = "x" end, "number or tensor expected, got string")
    fails(function() t[{ 1 }] = nil end, "number or tensor expected, got nil")
    fails(function() mt.zeros(2, "uint8")[{ 1 }] = 256 end, "a value of uint8 expected, got 256")
    assert.equal(0.0, t:sum():item())
  end)
end)

describe("t[mask]", function()
  local t = grid(2, 3)

  it("reads and writes what is marked", function()
    local w = t:clone()
    assert.same({ 3.0, 4.0, 5.0 }, w[w:gt(2)]:totable())
    assert.same({}, w[w:gt(9)]:totable())
    w[w:gt(3)] = -1
    assert.same({ { 0.0, 1.0, 2.0 }, { 3.0, -1.0, -1.0 } }, w:totable())
    w[w:lt(0)] = mt.tensor{ 7, 8 }
    assert.same({ 3.0, 7.0, 8.0 }, w[2]:totable())
    w[w:lt(0)] = 5
    assert.same({ 3.0, 7.0, 8.0 }, w[2]:totable())
  end)

  it("takes a mask over the first axes", function()
    local w, rows = grid(3, 2), mt.tensor({ 1, 0, 1 }, "uint8")
    assert.same({ { 0.0, 1.0 }, { 4.0, 5.0 } }, w[rows]:totable())
    w[rows] = mt.tensor{ 8, 9 }
    assert.same({ { 8.0, 9.0 }, { 2.0, 3.0 }, { 8.0, 9.0 } }, w:totable())
    assert.same({ 1, 3, 2 }, w[mt.ones({}, "uint8")]:shape())
    assert.same({ 0, 3, 2 }, w[mt.zeros({}, "uint8")]:shape())
  end)

  it("has a gradient", function()
    gradcheck.check{
      ours = function(x, mask) return x[mask] end,
      reference = function(x) return { shape = { 3 }, x[1], x[5], x[6] } end,
      inputs = { { shape = { 2, 3 } }, { shape = { 2, 3 }, values = { 1, 0, 0, 0, 1, 1 }, dtype = "uint8" } },
    }
  end)

  it("refuses masks of another shape or type", function()
    fails(function() return t[mt.ones(3, "uint8")] end, "the mask has shape {3}, expected {2,3} or its first axes")
    fails(function() return t[mt.ones(2, 3)] end, "a float32 tensor, expected a uint8 mask")
    fails(function() t[mt.ones(3, "uint8")] = 1 end, "the mask has shape {3}")
    fails(function() t[t:gt(2)] = mt.zeros(2) end, "the values have shape {2}, expected one that broadcasts to {3}")
  end)
end)

describe("t[numbers]", function()
  it("gives rows, in the shape of the numbers", function()
    local t = grid(3, 2)
    assert.same({ { 4.0, 5.0 }, { 0.0, 1.0 } }, t[mt.tensor({ 3, 1 }, "int32")]:totable())
    local pairs_of_rows = t[mt.tensor({ { 1, 2 }, { 3, 3 } }, "int32")]
    assert.same({ 2, 2, 2 }, pairs_of_rows:shape())
    assert.same({ 4.0, 5.0 }, pairs_of_rows[2][1]:totable())
    assert.same({ 2.0, 3.0 }, t[mt.tensor(2, "int32")]:totable())
    assert.same({ 0, 2 }, t[mt.zeros(0, "int32")]:shape())
  end)

  it("writes rows", function()
    local t = mt.zeros(3, 2)
    t[mt.tensor({ 3, 1 }, "int32")] = mt.tensor{ { 1, 2 }, { 3, 4 } }
    assert.same({ { 3.0, 4.0 }, { 0.0, 0.0 }, { 1.0, 2.0 } }, t:totable())
    t[mt.tensor({ { 1, 2 } }, "int32")] = mt.tensor{ 7, 8 }
    assert.same({ { 7.0, 8.0 }, { 7.0, 8.0 }, { 1.0, 2.0 } }, t:totable())
    t[mt.tensor(3, "int32")] = mt.tensor{ 5, 6 }
    assert.same({ 5.0, 6.0 }, t[3]:totable())
  end)

  it("has a gradient, as an embedding", function()
    gradcheck.check{
      ours = function(x, i) return x[i] end,
      reference = function(x, i)
        return reference.build({ 2, 2, 3 }, function(p)
          return x[reference.flat(x.shape, { i[reference.flat({ 2, 2 }, p)], p[3] })]
        end)
      end,
      inputs = { { shape = { 4, 3 } }, { shape = { 2, 2 }, values = { 4, 1, 4, 4 }, dtype = "int32" } },
    }
  end)

  it("refuses numbers that are none", function()
    local t = mt.zeros(3, 2)
    fails(function() return t[mt.tensor({ 1, 4 }, "int32")] end, "element 2 of the list is 4, expected 1..3")
    fails(function() return t[mt.tensor({ -1 }, "int32")] end, "element 1 of the list is %-1, expected 1..3")
    fails(function() t[mt.tensor({ 0 }, "int32")] = 1 end, "element 1 of the list is 0, expected 1..3")
    fails(function() return mt.zeros{}[mt.tensor({ 1 }, "int32")] end, "the tensor has no axes")
    fails(function() return mt.zeros(1, 1, 1, 1, 1, 1)[mt.ones({ 1, 1 }, "int32")] end, "more than 6 axes")
  end)
end)

describe("writing in place", function()
  local t = grid(2, 3)
  local copies = {
    narrow = function() return t:narrow(2, 1, 2) end,
    slice = function() return t:slice(2, 1, 3, 2) end,
    ["slice of rows by steps"] = function() return t:slice(1, 1, 2, 2) end,
    permute = function() return t:permute(2, 1) end,
    transpose = function() return t:transpose() end,
    expand = function() return t:expand(2, 2, 3) end,
    ["t[{{}, range}]"] = function() return t[{ {}, { 1, 2 } }] end,
    ["t[{{}, number}]"] = function() return t[{ {}, 1 }] end,
    ["t[mask]"] = function() return t[t:gt(1)] end,
    ["t[numbers]"] = function() return t[mt.tensor({ 1, 2 }, "int32")] end,
    ["t[rows of numbers]"] = function() return t[mt.tensor({ { 1, 2 } }, "int32")] end,
  }
  local writes = {
    fill = function(c) c:fill(9) end,
    copy = function(c) c:copy(mt.tensor(9)) end,
    ["c[1] = "] = function(c) c[1] = 9 end,
    ["c[{...}] ="] = function(c) c[{ { 1, 1 } }] = 9 end,
    ["c[mask] ="] = function(c) c[c:gt(-1)] = 9 end,
    ["a view of it"] = function(c) c:reshape(-1):narrow(1, 1, 1):fill(9) end,
    ["a row of it"] = function(c) c:unsqueeze(1)[1]:fill(9) end,
    detach = function(c) c:detach():fill(9) end,
  }
  for made, make in pairs(copies) do
    for written, write in pairs(writes) do
      it(("refuses a copy that looks like a part: %s, %s"):format(made, written), function()
        fails(function() write(make()) end, "in%-place write: the tensor is a copy that .* made, so nothing else would")
        assert.same({ { 0.0, 1.0, 2.0 }, { 3.0, 4.0, 5.0 } }, t:totable())
        local own = make():clone()
        write(own)
        assert.equal(9.0, own:max():item())
      end)
    end
  end

  it("names the method that copied", function()
    fails(copies.narrow() and function() copies.narrow():fill(1) end, "copy that narrow made")
    fails(function() copies["t[mask]"]():fill(1) end, "copy that t%[...%] made")
    fails(function() t:reshape(2, 1, 3):transpose(1, 2)[1] = 1 end, "copy that transpose made")
  end)

  it("goes through to the tensor where a part shares its values", function()
    local w = mt.zeros(3, 2, 2)
    w[{ 1 }]:fill(1)
    w[{ 2, { 1, 1 } }]:fill(2)
    w[{ { 3, 3 } }][1][2][2] = 3
    w:narrow(1, 3, 1):narrow(1, 1, 1)[1][1][1] = 4
    assert.same({ { { 1.0, 1.0 }, { 1.0, 1.0 } }, { { 2.0, 2.0 }, { 0.0, 0.0 } }, { { 4.0, 0.0 }, { 0.0, 3.0 } } },
      w:totable())
  end)

  it("is refused by every function that fills a tensor it was given", function()
    local canvas = mt.zeros({ 8, 8, 3 }, "uint8"):narrow(2, 1, 4)
    local red = { 255, 0, 0 }
    for name, draw in pairs{
      fill_rect = function(c) mt.image.fill_rect(c, 0, 0, 2, 2, red) end,
      draw_line = function(c) mt.image.draw_line(c, 0, 0, 2, 2, red) end,
      paste = function(c) mt.image.paste(c, mt.zeros({ 2, 2 }, "uint8"), 0, 0) end,
    } do
      fails(function() draw(canvas) end, "copy that narrow made")
      assert.has_no.errors(function() draw(canvas:clone()) end, name)
    end
    local images = mt.zeros({ 2, 1, 8, 3 }, "uint8"):transpose(1, 2)
    process.with_folder(function(folder)
      mt.image.write_png(folder .. "/a.png", mt.ones(2, 3))
      fails(function() mt.image.read_files({ folder .. "/a.png" }, images) end, "copy that transpose made")
    end)
    local x, w, statistics = mt.randn(4, 2), mt.ones(2), mt.ones(2, 2):narrow(2, 1, 1):reshape(2)
    fails(function() mt.batch_norm(x, w, w, statistics, mt.ones(2), { training = true }) end, "copy that narrow made")
    fails(function() mt.batch_norm(x, w, w, mt.ones(2), statistics, { training = true }) end, "copy that narrow made")
    mt.batch_norm(x, w, w, statistics, statistics) -- only looks at them
    local images_in, kernel = mt.randn(1, 3, 3, 2), mt.randn(1, 1, 2, 2)
    fails(function()
      mt.conv2d_batch_norm(images_in, kernel, nil, w, w, mt.ones(2), statistics, { training = true })
    end, "copy that narrow made")
  end)

  it("leaves gradients and results of other operations writable", function()
    local x = mt.ones(2, 3, { requires_grad = true })
    x:transpose():narrow(2, 1, 1):sum():backward()
    x:grad():fill(0)
    x:grad()[{ {}, 1 }] = 2
    assert.same({ { 2.0, 0.0, 0.0 }, { 2.0, 0.0, 0.0 } }, x:grad():totable())
    for _, own in ipairs{
      t:index{ 2 }, t:flip(1), t + 1, t:to "int32", mt.cat{ t:transpose() }, t:transpose():clone(),
    } do
      own:fill(3)
    end
  end)

  it("is refused where autograd would miss it, by any key", function()
    local x, mask = mt.ones(3, { requires_grad = true }), mt.ones(3, "uint8")
    for _, key in ipairs{ 1, { { 1, 2 } }, {}, mask, mt.tensor({ 1 }, "int32") } do
      fails(function() x[key] = 1 end, "the tensor requires gradients; write inside no_grad")
      fails(function() (x * 2)[key] = 1 end, "the tensor is the result of mul, recorded for backward")
      fails(function() mt.zeros(3)[key] = x end, "the values require gradients, which would be lost")
    end
    mt.no_grad(function() x[mask] = 4 end)
    assert.same({ 4.0, 4.0, 4.0 }, x:totable())
  end)

  it("is noticed by backward, by any key", function()
    local w = mt.ones(3, { requires_grad = true })
    for _, key in ipairs{ 1, { { 1, 2 } }, {}, mt.ones(3, "uint8"), mt.tensor({ 1 }, "int32") } do
      local x = mt.ones(3)
      local loss = (x * w):sum()
      x[key] = 5
      fails(function() loss:backward() end, "a tensor that mul needs was changed in place")
    end
  end)
end)
