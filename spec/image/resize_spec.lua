local mt = require "masktune"
local process = require "support.process"

local source = mt.tensor{ { 0, 1, 4, -2 }, { 3, 8, 0.5, 1 }, { 7, -1, 2, 6 } }

-- torch.nn.functional.interpolate(source[None, None], size=..., mode=...) of PyTorch 2.15, align_corners=False where it
-- can be given.
local expected = {
  bilinear = {
    { size = { 3, 4 }, 0, 1, 4, -2, 3, 8, 0.5, 1, 7, -1, 2, 6 },
    { size = { 6, 8 }, 0, 0.25, 0.75, 1.75, 3.25, 2.5, -0.5, -2, 0.75, 1.25, 2.25, 2.84375, 3.03125, 2.03125,
      -0.15625, -1.25, 2.25, 3.25, 5.25, 5.03125, 2.59375, 1.09375, 0.53125, 0.25, 4, 4.4375, 5.3125, 4.53125,
      2.09375, 1.21875, 1.90625, 2.25, 6, 4.8125, 2.4375, 1.34375, 1.53125, 2.40625, 3.96875, 4.75, 7, 5, 1, -0.25,
      1.25, 3, 5, 6 },
    { size = { 5, 7 }, 0, 0.357143, 0.928571, 2.5, 3.57143, 0.142856, -2, 1.2, 2.12857, 3.61429, 3.2,
      2.35714, 0.414285, -0.8, 3, 4.78571, 7.64286, 4.25, 0.535714, 0.821429, 1, 5.4, 4.4, 2.8, 2, 1.58572,
      3.07143, 4, 7, 4.14286, -0.428572, 0.5, 2.28572, 4.57143, 6 },
    { size = { 2, 3 }, 1.08333, 2.9375, -0.520834, 5.20833, 1.4375, 4.22917 },
    { size = { 1, 1 }, 4.25 },
    { size = { 7, 2 }, 0.5, 1, 1.21429, 0.964286, 3.35714, 0.857143, 5.5, 0.75, 4.42857, 2.14286, 3.35714,
      3.53571, 3, 4 },
  },
  nearest = {
    { size = { 3, 4 }, 0, 1, 4, -2, 3, 8, 0.5, 1, 7, -1, 2, 6 },
    { size = { 6, 8 }, 0, 0, 1, 1, 4, 4, -2, -2, 0, 0, 1, 1, 4, 4, -2, -2, 3, 3, 8, 8, 0.5, 0.5, 1, 1, 3, 3,
      8, 8, 0.5, 0.5, 1, 1, 7, 7, -1, -1, 2, 2, 6, 6, 7, 7, -1, -1, 2, 2, 6, 6 },
    { size = { 5, 7 }, 0, 0, 1, 1, 4, 4, -2, 0, 0, 1, 1, 4, 4, -2, 3, 3, 8, 8, 0.5, 0.5, 1, 3, 3, 8, 8, 0.5,
      0.5, 1, 7, 7, -1, -1, 2, 2, 6 },
    { size = { 2, 3 }, 0, 1, 4, 3, 8, 0.5 },
    { size = { 1, 1 }, 0 },
    { size = { 7, 2 }, 0, 4, 0, 4, 0, 4, 3, 0.5, 3, 0.5, 7, 2, 7, 2 },
  },
}

local function flat(tensor)
  return tensor:reshape(tensor:numel()):totable()
end

local function assert_close(values, tensor, tolerance)
  local got = flat(tensor)
  assert.equal(#values, #got)
  for i, value in ipairs(values) do
    assert.near(value, got[i], tolerance)
  end
end

describe("resize", function()
  for mode, cases in pairs(expected) do
    for _, case in ipairs(cases) do
      it(("gives PyTorch's values for %s to %dx%d"):format(mode, case.size[1], case.size[2]), function()
        local resized = mt.image.resize(source, { size = case.size, mode = mode })
        assert.same(case.size, resized:shape())
        assert_close(case, resized, 1e-5)
      end)
    end
  end

  it("treats every image and channel alone", function()
    local a, b, c, d = source, source * 2 + 1, source * -1, source + 7
    local images = mt.stack({ mt.stack({ a, b }, 3), mt.stack({ c, d }, 3) }, 1)
    local case = expected.bilinear[3]
    local resized = mt.image.resize(images, { size = case.size })
    assert.same({ 2, 5, 7, 2 }, resized:shape())
    local n = 0
    for _, row in ipairs(resized:totable()[2]) do
      for _, pixel in ipairs(row) do
        n = n + 1
        assert.near(-case[n], pixel[1], 1e-5)
        assert.near(case[n] + 7, pixel[2], 1e-5)
      end
    end
    local planes = mt.image.resize(mt.stack({ a, c }, 1), { size = case.size, planes = true })
    assert.same({ 2, 5, 7 }, planes:shape())
    assert.near(-case[1], planes[2]:totable()[1][1], 1e-5)
    assert.same({ 5, 7, 2 }, mt.image.resize(mt.stack({ a, b }, 3), { size = case.size }):shape())
  end)

  it("keeps bytes bytes, rounded", function()
    local bytes = mt.tensor({ { 0, 1 }, { 255, 10 } }, "uint8")
    assert.same({ { 0, 0, 1, 1 }, { 64, 49, 18, 3 }, { 191, 145, 54, 8 }, { 255, 194, 71, 10 } },
      mt.image.resize(bytes, { size = { 4, 4 } }):totable())
    assert.same({ { 0, 0, 1, 1 }, { 255, 255, 10, 10 } },
      mt.image.resize(bytes, { size = { 2, 4 }, mode = "nearest" }):totable())
  end)

  it("gives the same bits with any number of threads", function()
    local images = mt.rand(40, 28, 28, 3)
    local threads = mt.get_num_threads()
    mt.set_num_threads(1)
    local alone = mt.image.resize(images, { size = { 31, 45 } }):bytes()
    mt.set_num_threads(3)
    assert.equal(alone, mt.image.resize(images, { size = { 31, 45 } }):bytes())
    mt.set_num_threads(threads)
  end)

  it("takes no images, but not images without pixels", function()
    assert.same({ 0, 4, 5, 3 }, mt.image.resize(mt.zeros(0, 2, 2, 3), { size = { 4, 5 } }):shape())
    assert.error_matches(function()
      mt.image.resize(mt.zeros(2, 0, 2, 3), { size = 4 })
    end, "resize: images has shape {2,0,2,3}, expected at least one pixel")
  end)

  it("says what is wrong with its arguments", function()
    for message, call in pairs{
      ["option 'size': integer or {height, width} expected, got nil"] = { source, {} },
      ["option 'size'"] = { source, { size = { 3, 0 } } },
      ["option 'mode': 'bilinear' or 'nearest' or 'bicubic' expected, got 'cubic'"] =
        { source, { size = 3, mode = "cubic" } },
      ["resize: images is int32, expected float32 or uint8"] = { source:to("int32"), { size = 3 } },
      ["resize: images has shape {4}"] = { mt.zeros(4), { size = 3 } },
      ["resize: images has shape {1,1,1,1,1}"] = { mt.zeros(1, 1, 1, 1, 1), { size = 3 } },
      ["unknown option 'height'"] = { source, { height = 3 } },
    } do
      local ok, problem = pcall(mt.image.resize, table.unpack(call))
      assert.is_false(ok)
      assert.is_truthy(problem:find(message, 1, true), problem)
    end
  end)
end)

describe("resize with antialiasing", function()
  local golden = mt.load "spec/golden/pictures.safetensors"
  local input = golden["resize/input"]
  local floats = mt.image.batch(input:reshape(1, 23, 17, 3), { 1 })[1]

  local function largest_difference(a, b) return (a:to "float32" - b:to "float32"):abs():max():item() end

  for name, wanted in pairs(golden) do
    local mode, height, width, dtype = name:match "^resize/(%a+)/(%d+)/(%d+)/(%w+)$"
    if mode then
      it(("gives the values of %s: %s to %sx%s"):format(dtype == "uint8" and "Pillow" or "torchvision", mode, height,
        width), function()
        local options = { size = { tonumber(height), tonumber(width) }, mode = mode, antialias = true }
        local resized = mt.image.resize(dtype == "uint8" and input or floats, options)
        assert.equal(dtype, resized:dtype())
        assert.same(wanted:shape(), resized:shape())
        assert.is_true(largest_difference(resized, wanted) <= (dtype == "uint8" and 1 or 1e-5))
      end)
    end
  end

  it("treats every image, plane and channel alone, with any number of threads", function()
    local threads = mt.get_num_threads()
    local images = mt.rand(30, 40, 30, 3)
    for _, mode in ipairs { "bilinear", "bicubic" } do
      local options = { size = { 13, 11 }, mode = mode, antialias = true }
      mt.set_num_threads(1)
      local resized = mt.image.resize(images, options)
      mt.set_num_threads(3)
      assert.equal(resized:bytes(), mt.image.resize(images, options):bytes())
      assert.equal(resized[7]:bytes(), mt.image.resize(images[7], options):bytes())
      local plane = images:permute(4, 1, 2, 3)[2]
      options.planes = true
      assert.equal(resized:permute(4, 1, 2, 3)[2]:bytes(), mt.image.resize(plane, options):bytes())
    end
    mt.set_num_threads(threads)
  end)

  it("is the same as without where nothing shrinks and the mode is bilinear", function()
    local plain = mt.image.resize(floats, { size = { 51, 37 } })
    local antialiased = mt.image.resize(floats, { size = { 51, 37 }, antialias = true })
    assert.is_true((plain - antialiased):abs():max():item() < 1e-5)
  end)

  -- The two dtypes have kernels of their own; rows of every length begin and end vectors somewhere else.
  it("gives bytes that are the rounded floats, for any size and channels, with every instruction set", function()
    local program = [[
      local mt = require "masktune"
      mt.manual_seed(1)
      local checked = 0
      for channels = 1, 5 do
        for _, size in ipairs { {1, 1}, {2, 3}, {9, 5}, {23, 17}, {40, 61}, {33, 100}, {70, 259} } do
          local bytes = (mt.rand(size[1], size[2], channels) * 255):to "uint8"
          for _, wanted in ipairs { {1, 1}, {2, 2}, {5, 7}, {24, 31}, {64, 90} } do
            local function resized(images)
              return mt.image.resize(images, { size = wanted, antialias = true }):to "float32"
            end
            local off = (resized(bytes) - resized(bytes:to "float32")):abs():max():item()
            assert(off < 0.5001, ("%d channels, %dx%d to %dx%d: %g"):format(channels, size[1], size[2], wanted[1],
              wanted[2], off))
            checked = checked + 1
          end
        end
      end
      for byte, value in ipairs(mt.image.batch(mt.arange(256):to("uint8"):reshape(1, 256, 1, 1), { 1 }):reshape(256)
        :totable()) do
        assert(string.unpack("f", string.pack("f", (byte - 1) / 255)) == value, byte)
        checked = checked + 1
      end
      print(checked)]]
    for _, isa in ipairs { "plain", "avx2", "avx512" } do
      local good, output = process.run(("MASKTUNE_ISA=%s %s -e %s"):format(isa, process.lua, process.quoted(program)))
      assert.is_true(good, output)
      assert.equal("431\n", output:match "%d+\n$")
    end
  end)

  it("is not to be had with every mode", function()
    assert.error_matches(function() mt.image.resize(floats, { size = 5, mode = "nearest", antialias = true }) end,
      "option 'antialias': not with mode 'nearest'")
    assert.error_matches(function() mt.image.resize(floats, { size = 5, mode = "bicubic" }) end,
      "option 'mode': 'bicubic' is there with antialias = true only")
    assert.error_matches(function() mt.image.resize(floats, { size = 5, antialias = 1 }) end, "option 'antialias'")
  end)
end)

describe("batch", function()
  local images = mt.arange(5 * 2 * 3 * 2):to("uint8"):reshape(5, 2, 3, 2)

  it("gives the chosen images divided by 255, each value as float32 division gives it", function()
    for _, indices in ipairs{ { 5, 1, 5 }, mt.tensor({ 5, 1, 5 }, "int32") } do
      local batch = mt.image.batch(images, indices)
      assert.same({ 3, 2, 3, 2 }, batch:shape())
      local values = flat(batch)
      for i = 0, 35 do
        local byte = i % 12 + (i // 12 == 1 and 0 or 48)
        assert.equal((("<f"):unpack(("<f"):pack(byte / 255))), values[i + 1])
      end
    end
  end)

  it("takes an empty list", function()
    assert.same({ 0, 2, 3, 2 }, mt.image.batch(images, {}):shape())
  end)

  it("says which index is wrong", function()
    for message, call in pairs{
      ["batch: indices[2] is 6, expected 1 to 5"] = { images, { 1, 6 } },
      ["batch: indices[1] is 0, expected 1 to 5"] = { images, mt.tensor({ 0 }, "int32") },
      ["indices[2]: integer >= 1 expected, got 1.5"] = { images, { 1, 1.5 } },
      ["indices[1]: integer >= 1 expected, got x"] = { images, { "x" } },
      ["batch: images is float32, expected uint8"] = { images:to("float32"), { 1 } },
      ["batch: images has shape {5,12}, expected {N,H,W,C}"] = { images:reshape(5, 12), { 1 } },
      ["batch: indices is float32, expected int32"] = { images, mt.ones(1) },
    } do
      local ok, problem = pcall(mt.image.batch, table.unpack(call))
      assert.is_false(ok)
      assert.is_truthy(problem:find(message, 1, true), problem)
    end
  end)
end)
