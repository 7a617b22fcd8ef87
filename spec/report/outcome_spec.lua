local mt = require "masktune"

local function scores(title, original, biased) return { title = title, original = original, biased = biased } end

local function sentence(erm, masktune, ...)
  return mt.outcome.sentence { cue = "the square", erm = erm, masktune = masktune, controls = { ... } }
end

describe("mt.outcome.sentence", function()
  local erm = scores("ERM", { 88 }, { 78.6 })

  it("says what got better, and by how much", function()
    assert.equal("MaskTune made the net lean less on the square: where it points to the wrong class, 96.5 % of the "
      .. "answers are right (ERM 78.6 %, best control 'RandMask' 85.0 %), without it 98.0 % (ERM 88.0 %).",
      sentence(erm, scores("MaskTune", { 98 }, { 96.5 }), scores("one more epoch", { 90 }, { 80 }),
        scores("RandMask", { 93 }, { 85 })))
  end)

  it("says so where nothing changed, or harm was done", function()
    assert.matches("^MaskTune changed next to nothing about how the net leans on the square: .* 79%.0 %%",
      sentence(erm, scores("MaskTune", { 98 }, { 79 })))
    assert.matches("^MaskTune did harm: the net leans more on the square: .* 70%.0 %%",
      sentence(erm, scores("MaskTune", { 98 }, { 70 })))
    assert.matches("^MaskTune made the net lean less on the square, at the price of the rest: ",
      sentence(erm, scores("MaskTune", { 80 }, { 90 })))
  end)

  it("does not hide a control that does as well or better", function()
    local tuned = scores("MaskTune", { 98 }, { 90 })
    assert.matches("; the control does as well%.$", sentence(erm, tuned, scores("RandMask", { 90 }, { 89.5 })))
    assert.matches("; the control does better%.$", sentence(erm, tuned, scores("RandMask", { 90 }, { 93 })))
  end)

  it("counts the seeds in which MaskTune is better", function()
    assert.matches("90%.0 %% of the answers .* %(means of 3 seeds, 2 of them better with MaskTune%)%.$",
      sentence(scores("ERM", { 80, 80, 80 }, { 70, 75, 80 }), scores("MaskTune", { 90, 90, 90 }, { 95, 95, 80 })))
  end)

  it("refuses what it cannot compare", function()
    assert.error_matches(function() sentence(erm, scores("MaskTune", { 98 }, {})) end,
      "option 'masktune': option 'biased'")
  end)
end)
