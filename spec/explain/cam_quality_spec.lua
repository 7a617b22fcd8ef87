local mt = require "masktune"
local nn = mt.nn

--- A net whose logits are {s, 0}, s the weighted sum of a one-channel image's pixels, and so can be followed by hand.
local function linear_net(weights)
  return nn.Module{
    forward = function(_, x)
      local s = (x * weights:unsqueeze(3)):sum{ 2, 3, 4 }
      return mt.stack({ s, s * 0 }, 2)
    end,
  }
end

local function probability(s) return 1 / (1 + math.exp(-s)) end

local function close(expected, got, tolerance)
  assert.equal(#expected, #got)
  for i = 1, #expected do
    local message = ("%d: %g, not %g"):format(i, got[i], expected[i])
    assert.is_true(math.abs(expected[i] - got[i]) < (tolerance or 1e-5), message)
  end
end

describe("mt.cam_quality.curves", function()
  local weights = mt.tensor{ { 4, 1 }, { -2, 0.5 } }
  local net = linear_net(weights)
  local image = mt.tensor{ { { { 1 }, { 0.5 } }, { { 1 }, { 1 } } } } -- s = 4 + 0.5 - 2 + 0.5
  local label = mt.tensor({ 1 }, "int32")
  local heat = mt.tensor{ { { 9, 5 }, { 1, 3 } } } -- in the weights' order
  local shares = { 0, 0.25, 0.5, 0.75, 1 }

  it("hides pixel after pixel in the order of the heat", function()
    local found = mt.cam_quality.curves(net, image, label, heat, { shares = shares })
    local function probabilities(scores)
      for i, s in ipairs(scores) do
        scores[i] = probability(s)
      end
      return scores
    end
    close(probabilities{ 3, -1, -1.5, -2, 0 }, found.most.confidence)
    close(probabilities{ 3, 5, 4.5, 4, 0 }, found.least.confidence)
    -- a score of 0 is a tie, which the first class wins
    close({ 1, 0, 0, 0, 1 }, found.most.accuracy)
    close({ 1, 1, 1, 1, 1 }, found.least.accuracy)
    assert.equal((1 + 0 + 0 + 0 + 1) / 2 * 0.25 + 0, found.most.accuracy_area)
    assert.equal(1.0, found.least.accuracy_area)
    local p = found.most.confidence
    local area = ((p[1] + p[5]) / 2 + p[2] + p[3] + p[4]) / 4
    assert.is_true(math.abs(area - found.most.confidence_area) < 1e-12)
    assert.same(shares, found.shares)
    assert.equal(0, found.flat)
  end)

  it("puts a number, the mean, or what surrounds it in a pixel's place", function()
    local function score_at(fill, options)
      local o = { shares = { 0, 0.25 }, fill = fill, noise = 0 }
      for name, value in pairs(options or {}) do
        o[name] = value
      end
      local p = mt.cam_quality.curves(net, image, label, heat, o).most.confidence[2]
      return math.log(p / (1 - p))
    end
    assert.is_true(math.abs(score_at(0.25) - (3 - 4 * 0.75)) < 1e-5)
    assert.is_true(math.abs(score_at "mean" - (3 - 4 * (1 - 3.5 / 4))) < 1e-5)
    local filled = (0.5 / 6 + 1 / 6 + 1 / 12) / (5 / 12)
    assert.is_true(math.abs(score_at "impute" - (3 - 4 * (1 - filled))) < 1e-4)
    local generator = mt.generator(3)
    local function draw() return mt.randn({ 1, 2, 2, 1 }, { generator = generator })[1][1][1]:item() end
    draw() -- for share 0, of which nothing shows
    local noisy = filled + 0.5 * draw()
    local got = score_at("impute", { noise = 0.5, generator = mt.generator(3) })
    assert.is_true(math.abs(got - (3 - 4 * (1 - noisy))) < 1e-4)
  end)

  it("counts heatmaps that are the same everywhere, and gives the same in any batch", function()
    mt.manual_seed(2)
    local images, heats = mt.rand(7, 2, 2, 1), mt.rand(7, 2, 2)
    heats[3], heats[5] = 0, 0.25
    local labels = mt.tensor({ 1, 2, 1, 2, 1, 2, 1 }, "int32")
    local whole = mt.cam_quality.curves(net, images, labels, heats)
    assert.equal(2, whole.flat)
    local parts = mt.cam_quality.curves(net, images, labels, heats, { batch = 3 })
    for _, order in ipairs{ "most", "least" } do
      close(whole[order].confidence, parts[order].confidence)
      close(whole[order].accuracy, parts[order].accuracy)
    end
    local bytes = (images * 255):to("uint8")
    close(mt.cam_quality.curves(net, bytes:to("float32") / 255, labels, heats).most.confidence,
      mt.cam_quality.curves(net, bytes, labels, heats).most.confidence)
  end)
end)

describe("mt.cam_quality.road", function()
  it("compares scores before and after imputing, at each percentile", function()
    mt.manual_seed(3)
    local weights = mt.randn(5, 6)
    local net, images, heat = linear_net(weights), mt.rand(4, 5, 6, 1), mt.rand(4, 5, 6)
    local labels = mt.tensor({ 1, 2, 2, 1 }, "int32")
    local found = mt.cam_quality.road(net, images, labels, heat, { percentiles = { 40, 80 }, noise = 0, score = "logit",
      batch = 3 })
    assert.same({ 4, 2 }, found.most:shape())
    local ranks = mt.mask.rank(heat)
    local function scores(x) return (x * weights:unsqueeze(3)):sum{ 2, 3, 4 } end
    for i, percentile in ipairs{ 40, 80 } do
      local hidden = 30 - math.ceil(29 * percentile / 100)
      for order, keep in pairs{ most = ranks:gt(hidden), least = ranks:le(30 - hidden) } do
        local change = scores(mt.mask.impute(images, keep)) - scores(images)
        local expected = { change[1]:item(), 0, 0, change[4]:item() } -- class 2 always scores 0
        close(expected, found[order]:narrow(2, i, 1):reshape(4):totable(), 1e-4)
      end
    end
    local combined = ((found.least:mean(2) - found.most:mean(2)) / 2):totable()
    close(combined, found.combined:totable())
    assert.is_true(math.abs(found.score - (combined[1] + combined[2] + combined[3] + combined[4]) / 4) < 1e-6)
  end)

  it("draws its noise from the generator", function()
    mt.manual_seed(4)
    local net, images, heat = linear_net(mt.randn(5, 6)), mt.rand(4, 5, 6, 1), mt.rand(4, 5, 6)
    local labels = mt.ones({ 4 }, "int32")
    local function score(seed, noise)
      return mt.cam_quality.road(net, images, labels, heat, { generator = mt.generator(seed), noise = noise }).score
    end
    assert.equal(score(1), score(1))
    assert.is_false(score(1) == score(2))
    assert.equal(score(1, 0), score(2, 0))
    assert.is_true(math.abs(score(1) - score(1, 0)) < 0.05)
  end)

  it("says what is wrong", function()
    local net, images, heat = linear_net(mt.randn(5, 6)), mt.rand(4, 5, 6, 1), mt.rand(4, 5, 6)
    local labels = mt.ones({ 4 }, "int32")
    local broken = heat:clone()
    broken[3][1][1] = 0 / 0
    for message, arguments in pairs{
      ["argument 'model': module expected, got 3"] = { 3, images, labels, heat },
      ["argument 'images': float32 or uint8 {N,H,W,C} expected, got float32 {5,6,1}"] =
        { net, images[1], labels, heat },
      ["argument 'labels': tensor expected, got nil"] = { net, images },
      ["argument 'labels': int32 {4} expected, got int32 {3}"] = { net, images, mt.ones({ 3 }, "int32"), heat },
      ["argument 'heat': float32 {4,h,w} expected, got float32 {3,5,6}"] =
        { net, images, labels, mt.rand(3, 5, 6) },
      ["label of image 1 is 5, expected 1 to 2"] = { net, images, mt.full({ 4 }, 5, "int32"), heat },
      ["rank: heat of image 3 holds NaN"] = { net, images, labels, broken },
      ["option 'percentiles': list of 1 or more, each number in [0, 100] expected"] =
        { net, images, labels, heat, { percentiles = { 101 } } },
      ["unknown option 'fill'"] = { net, images, labels, heat, { fill = 0 } },
    } do
      local ok, problem = pcall(mt.cam_quality.road, table.unpack(arguments))
      assert.is_false(ok, message)
      assert.is_truthy(problem:find(message, 1, true), problem)
    end
    local ok, problem = pcall(mt.cam_quality.curves, net, images, labels, heat, { shares = { 0.5, 0.5 } })
    assert.is_false(ok)
    assert.is_truthy(problem:find("option 'shares': increasing numbers expected, got 0.5 after 0.5", 1, true), problem)
  end)
end)

describe("mt.cam_quality.compare", function()
  --- Class 1 where the square of an image is bright; the rest is noise that the net does not look at.
  local function problem(count)
    mt.manual_seed(5)
    local images, labels = mt.rand(count, 12, 12, 1) * 0.5, {}
    for n = 1, count do
      local class = n % 2 + 1
      for y = 2, 4 do
        for x = 7, 9 do
          images[n][y][x] = class == 1 and 1 or 0
        end
      end
      labels[n] = class
    end
    return images, mt.tensor(labels, "int32")
  end

  --- A net that looks at the square alone: its first channel has the square, the others noise.
  local function square_net()
    local seen = mt.zeros(12, 12, 1)
    for y = 2, 4 do
      for x = 7, 9 do
        seen[y][x] = 1
      end
    end
    local net = nn.Module{
      features = nn.Identity(),
      forward = function(self, x)
        local a = self.features(mt.cat({ x * seen, x, x * x, 1 - x }, 4))
        local s = (a:narrow(4, 1, 1)):sum{ 2, 3, 4 }
        return mt.stack({ s - 4.5, 4.5 - s }, 2)
      end,
    }
    net.cam_layer = "features"
    return net
  end

  it("tells methods that look where the net looks from random ones", function()
    local images, labels = problem(24)
    local table_ = mt.cam_quality.compare(square_net(), images, labels, {
      cams = { "hirescam", "fem", function(tap) return -tap.value:narrow(4, 1, 1):reshape(24, 12, 12) end },
      percentiles = { 50, 90 },
    })
    local rows = {}
    for i, row in ipairs(table_) do
      rows[row.name] = row
      assert.is_true(i == 1 or row.road <= table_[i - 1].road)
      assert.same({ 24 }, row.combined:shape())
    end
    assert.equal(4, #table_)
    assert.is_true(rows.hirescam.beats_random)
    assert.is_true(rows.hirescam.difference > 2 * rows.hirescam.standard_error)
    assert.is_false(rows.random.beats_random)
    assert.equal(0, rows.random.difference)
    assert.is_false(rows["rule 3"].beats_random)
    assert.equal(24, rows["rule 3"].flat) -- all its maps are cut to 0
    assert.is_true(rows.hirescam.deletion < rows["rule 3"].deletion)
    local text = tostring(table_)
    assert.is_truthy(text:find("^method +ROAD +beyond random"))
    assert.is_truthy(text:find("\nhirescam +%d%.%d+ +%+%d%.%d+ %+%- %d%.%d+"))
    assert.equal(text, tostring(mt.cam_quality.compare(square_net(), images, labels, {
      cams = { "hirescam", "fem", function(tap) return -tap.value:narrow(4, 1, 1):reshape(24, 12, 12) end },
      percentiles = { 50, 90 },
    })))
  end)

  it("says which method it does not know", function()
    local images, labels = problem(2)
    local ok, message = pcall(mt.cam_quality.compare, square_net(), images, labels, { cams = { "nosuch" } })
    assert.is_false(ok)
    local expected = "mt.cam_quality.compare: option 'cam': CAM expected (one of ablationcam"
    assert.is_truthy(message:find(expected, 1, true), message)
  end)
end)
