local mt = require "masktune"

-- Plain-Lua doubles throughout: a map is { height, width, [1..h*w] = number }.

local function extent(map)
  local low, high = math.huge, -math.huge
  for i = 1, #map do
    low, high = math.min(low, map[i]), math.max(high, map[i])
  end
  return low, high
end

local function mapped(map, f)
  local result = { height = map.height, width = map.width }
  for i = 1, #map do
    result[i] = f(map[i], i)
  end
  return result
end

local function scaled(map)
  local low, high = extent(map)
  return mapped(map, function(value)
    return high > low and (value - low) / (high - low) or 0
  end)
end

local function resized(map, height, width, pick)
  local result = { height = height, width = width }
  for y = 0, height - 1 do
    for x = 0, width - 1 do
      result[#result + 1] = pick(map, y, x, height, width)
    end
  end
  return result
end

local function nearest(map, y, x, height, width)
  return map[(y * map.height // height) * map.width + x * map.width // width + 1]
end

local function bilinear(map, y, x, height, width)
  local function taps(i, size, out)
    local position = math.max(0, (i + 0.5) * size / out - 0.5)
    local low = math.min(math.floor(position), size - 1)
    return low, math.min(low + 1, size - 1), position - low
  end
  local top, bottom, fy = taps(y, map.height, height)
  local left, right, fx = taps(x, map.width, width)
  local function at(row, column)
    return map[row * map.width + column + 1]
  end
  return (1 - fy) * ((1 - fx) * at(top, left) + fx * at(top, right))
    + fy * ((1 - fx) * at(bottom, left) + fx * at(bottom, right))
end

local function moments(map, counts)
  local sum, squares, n = 0, 0, 0
  for i = 1, #map do
    if counts(map[i]) then
      sum, n = sum + map[i], n + 1
    end
  end
  for i = 1, #map do
    if counts(map[i]) then
      squares = squares + (map[i] - sum / n) ^ 2
    end
  end
  return sum / n, math.sqrt(squares / n), n
end

local protocols = {
  paper = {
    surface = function(map)
      return map
    end,
    counts = function()
      return true
    end,
  },
  reference = {
    surface = function(map, height, width)
      return scaled(resized(scaled(map), height, width, bilinear))
    end,
    counts = function(value)
      return value > 0
    end,
  },
}

local rules = {
  sigma = function(surface, counts, options)
    local mean, std = moments(surface, counts)
    return mapped(surface, function(value)
      return value <= mean + options.k * std and 1 or 0
    end)
  end,
  global_mean = function(surface, _, options)
    return mapped(surface, function(value)
      return value <= options.mean and 1 or 0
    end)
  end,
  soft = function(surface)
    return mapped(scaled(surface), function(value)
      return 1 - value
    end)
  end,
  topk = function(surface, _, options)
    local order = {}
    for i = 1, #surface do
      order[i] = i
    end
    table.sort(order, function(a, b)
      if surface[a] ~= surface[b] then
        return surface[a] > surface[b]
      end
      return a < b
    end)
    local low = extent(surface)
    local keep = mapped(surface, function()
      return 1
    end)
    for rank = 1, options.top do
      if surface[order[rank]] > low then
        keep[order[rank]] = 0
      end
    end
    return keep
  end,
}

local function expected_keep(map, options)
  local height, width = options.size[1], options.size[2]
  local protocol = protocols[options.protocol]
  local surface = protocol.surface(map, height, width)
  return resized(rules[options.rule](surface, protocol.counts, options), height, width, nearest)
end

local function flat(tensor)
  return tensor:reshape(tensor:numel()):totable()
end

local function maps_of(heat)
  local shape, values, maps = heat:shape(), flat(heat), {}
  local size = shape[2] * shape[3]
  for n = 1, shape[1] do
    maps[n] = table.move(values, (n - 1) * size + 1, n * size, 1, { height = shape[2], width = shape[3] })
  end
  return maps
end

--- Heatmaps as CAM gives them: many zeros, a few peaks.
local function random_heat(...)
  return mt.randn(...):relu() * 3
end

--- Soft masks up to rounding. Hard ones exactly; but enlarging rounds in float32: with protocol "reference" values
-- that are equal or at the threshold in exact arithmetic may fall on either side, so pixels may differ where their
-- values do not.
local function assert_same_mask(expected, got, map, options)
  local low, high = math.huge, -math.huge
  local surface = protocols[options.protocol].surface(map, options.size[1], options.size[2])
  for i, value in ipairs(expected) do
    if options.rule == "soft" then
      assert.near(value, got[i], 1e-6)
    elseif options.protocol == "paper" then
      assert.equal(value, got[i])
    elseif value ~= got[i] then
      low, high = math.min(low, surface[i]), math.max(high, surface[i])
    end
  end
  assert.is_true(high - low < 1e-5)
end

local function options_with(changes)
  local options = { protocol = "paper", rule = "sigma", k = 2, size = { 9, 14 } }
  for name, value in pairs(changes) do
    options[name] = value
  end
  if options.rule ~= "sigma" then
    options.k = nil
  end
  return options
end

local cases = {
  { rule = "sigma", k = 0 }, { rule = "sigma", k = 1 }, { rule = "sigma", k = 2 }, { rule = "sigma", k = 3 },
  { rule = "sigma", k = 0.5 }, { rule = "global_mean", mean = 0.6 }, { rule = "soft" }, { rule = "topk", top = 1 },
  { rule = "topk", top = 5 },
}

describe("threshold", function()
  setup(function()
    mt.manual_seed(5)
  end)

  for _, case in ipairs(cases) do
    for protocol in pairs(protocols) do
      local name = ("%s %s"):format(case.rule, case.k or case.mean or case.top or "")
      it(("follows rule %s of protocol %s"):format(name, protocol), function()
        for _, size in ipairs{ { 9, 14 }, { 8, 8 }, { 3, 7 }, { 28, 28 } } do
          local options = options_with(case)
          options.protocol, options.size = protocol, size
          local heat = random_heat(6, 3, 7)
          local keep = mt.mask.threshold(heat, options)
          assert.same({ 6, size[1], size[2] }, keep:shape())
          assert.equal(case.rule == "soft" and "float32" or "uint8", keep:dtype())
          local got = maps_of(keep)
          for n, map in ipairs(maps_of(heat)) do
            assert_same_mask(expected_keep(map, options), got[n], map, options)
          end
        end
      end)
    end
  end

  it("masks the peak of a heatmap, and with a higher k less", function()
    local heat = mt.zeros(1, 8, 8)
    heat[1] = mt.rand(8, 8)
    local before = math.huge
    for k = 0, 3 do
      local masked = 784 - mt.mask.threshold(heat, { k = k, size = 28 }):to("float32"):sum():item()
      assert.is_true(masked <= before)
      before = masked
    end
    local peaked = mt.zeros(1, 2, 2)
    peaked[1] = mt.tensor{ { 0, 9 }, { 1, 0 } }
    assert.same({ { { 1, 1, 0, 0 }, { 1, 1, 0, 0 }, { 1, 1, 1, 1 }, { 1, 1, 1, 1 } } },
      mt.mask.threshold(peaked, { k = 1, size = 4 }):totable())
  end)

  it("masks nothing where a heatmap shows no difference, whatever the rule", function()
    for _, value in ipairs{ 0, 0.1, 3e38 } do
      local heat = mt.full({ 2, 3, 3 }, value)
      for _, case in ipairs(cases) do
        for protocol in pairs(protocols) do
          local options = options_with(case)
          options.protocol = protocol
          options.mean = options.mean and -1
          assert.equal(1, mt.mask.threshold(heat, options):to("float32"):min():item())
        end
      end
    end
  end)

  it("does not depend on the scale of a heatmap", function()
    local heat = random_heat(3, 4, 4)
    for _, scale in ipairs{ 1e-20, 2.0 ^ -60, 1e20 } do
      for protocol in pairs(protocols) do
        local options = { protocol = protocol, size = 12 }
        local changed = mt.mask.threshold(heat * scale, options):to("float32")
        assert.is_true((changed - mt.mask.threshold(heat, options):to("float32")):abs():sum():item() <= 1)
      end
    end
  end)

  it("gives the same bits with any number of threads", function()
    local heat, threads = random_heat(300, 8, 8), mt.get_num_threads()
    local options = { protocol = "reference", size = 28 }
    mt.set_num_threads(1)
    local alone = mt.mask.threshold(heat, options):bytes()
    mt.set_num_threads(3)
    assert.equal(alone, mt.mask.threshold(heat, options):bytes())
    mt.set_num_threads(threads)
  end)

  it("takes no images", function()
    assert.same({ 0, 4, 5 }, mt.mask.threshold(mt.zeros(0, 2, 2), { size = { 4, 5 } }):shape())
  end)

  it("says what is wrong", function()
    local heat = random_heat(2, 3, 3)
    local broken = mt.zeros(3, 2, 2)
    broken[2] = mt.tensor{ { 0, 1 }, { 0 / 0, 0 } }
    local infinite = mt.full({ 1, 2, 2 }, math.huge)
    for message, arguments in pairs{
      ["threshold: heat of image 2 holds NaN, expected finite values"] = { broken, { size = 4 } },
      ["threshold: heat of image 1 holds infinity"] = { infinite, { size = 4 } },
      ["threshold: heat has shape {3,3}, expected {N,h,w}"] = { heat[1], { size = 4 } },
      ["threshold: heat has shape {2,0,3}"] = { mt.zeros(2, 0, 3), { size = 4 } },
      ["threshold: heat is uint8, expected float32"] = { heat:to("uint8"), { size = 4 } },
      ["option 'size': integer or {height, width} expected, got nil"] = { heat, {} },
      ["option 'size'"] = { heat, { size = { 4, 0 } } },
      ["option 'protocol': 'paper' or 'reference' expected, got 'theirs'"] =
        { heat, { size = 4, protocol = "theirs" } },
      ["option 'rule'"] = { heat, { size = 4, rule = "otsu" } },
      ["option 'mean': required with rule 'global_mean'"] = { heat, { size = 4, rule = "global_mean" } },
      ["option 'top': required with rule 'topk'"] = { heat, { size = 4, rule = "topk" } },
      ["option 'k': only with rule 'sigma'"] = { heat, { size = 4, rule = "soft", k = 2 } },
      ["option 'top': only with rule 'topk'"] = { heat, { size = 4, top = 2 } },
      ["threshold: top is 10, expected 1 to 9 (the values of a 3x3 map)"] =
        { heat, { size = 4, rule = "topk", top = 10 } },
      ["option 'k': number"] = { heat, { size = 4, k = 0 / 0 } },
    } do
      local ok, problem = pcall(mt.mask.threshold, table.unpack(arguments))
      assert.is_false(ok, message)
      assert.is_truthy(problem:find(message, 1, true), problem)
    end
  end)
end)

describe("mean", function()
  it("is the mean of the values that the protocol's statistics are about, with their number", function()
    local heat = random_heat(5, 3, 4)
    for name, protocol in pairs(protocols) do
      local sum, count = 0, 0
      for _, map in ipairs(maps_of(heat)) do
        local mean, _, n = moments(protocol.surface(map, 10, 11), protocol.counts)
        sum, count = sum + mean * n, count + n
      end
      local got, n = mt.mask.mean(heat, { protocol = name, size = { 10, 11 } })
      assert.near(sum / count, got, 1e-6)
      assert.equal(count, n)
    end
    assert.near(heat:mean():item(), (mt.mask.mean(heat)), 1e-6)
  end)

  it("is 0 of nothing", function()
    assert.same({ 0, 0 }, { mt.mask.mean(mt.zeros(0, 3, 3)) })
    assert.same({ 0, 0 }, { mt.mask.mean(mt.ones(2, 3, 3), { protocol = "reference", size = 5 }) })
    assert.error_matches(function()
      mt.mask.mean(mt.ones(2, 3, 3), { protocol = "reference" })
    end, "option 'size'")
  end)
end)

describe("apply", function()
  local keep = mt.tensor({ { { 1, 0 }, { 0, 1 } } }, "uint8")

  it("sets masked pixels to 0 in all channels and leaves the others alone", function()
    local bytes = mt.tensor({ { { { 1, 2 }, { 3, 4 } }, { { 5, 6 }, { 255, 8 } } } }, "uint8")
    local expected = { { { { 1, 2 }, { 0, 0 } }, { { 0, 0 }, { 255, 8 } } } }
    local masked = mt.mask.apply(bytes, keep)
    assert.equal("uint8", masked:dtype())
    assert.same(expected, masked:totable())
    local floats = mt.mask.apply(bytes:to("float32"), keep)
    assert.equal("float32", floats:dtype())
    assert.same(expected, floats:totable())
    assert.same(expected, mt.mask.apply(bytes, keep:to("float32")):totable())
    assert.equal(3, bytes:totable()[1][1][2][1]) -- the images themselves are not changed
  end)

  it("multiplies with soft masks, bytes rounded", function()
    local bytes = mt.tensor({ { { { 100 }, { 255 } } } }, "uint8")
    local soft = mt.tensor{ { { 0.25, 0.501 } } }
    assert.same({ { { { 25 }, { 128 } } } }, mt.mask.apply(bytes, soft):totable())
    assert.near(127.755, mt.mask.apply(bytes:to("float32"), soft):totable()[1][1][2][1], 1e-4)
  end)

  it("makes a masked NaN 0", function()
    local images = mt.full({ 1, 2, 2, 1 }, 0 / 0)
    local masked = flat(mt.mask.apply(images, keep))
    assert.equal(0, masked[2])
    assert.is_true(masked[1] ~= masked[1])
  end)

  it("says what is wrong", function()
    local images = mt.zeros(1, 2, 2, 3)
    for message, arguments in pairs{
      ["apply: keep has shape {1,2,3}, expected {1,2,2}"] = { images, mt.ones(1, 2, 3) },
      ["apply: images has shape {2,2}, expected {N,H,W,C}"] = { mt.zeros(2, 2), keep },
      ["apply: images is int32, expected uint8 or float32"] = { images:to("int32"), keep },
      ["apply: keep is int32, expected uint8 or float32"] = { images, keep:to("int32") },
    } do
      local ok, problem = pcall(mt.mask.apply, table.unpack(arguments))
      assert.is_false(ok)
      assert.is_truthy(problem:find(message, 1, true), problem)
    end
  end)
end)
