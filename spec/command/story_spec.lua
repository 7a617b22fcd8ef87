local story = require "masktune.command.parts.story"

local function class(carried, random, leans)
  return { class = 1, name = "cat", carried = carried, carried_random = random, leans = leans, score = carried }
end

local function outcome(before, after, found)
  return story.outcome({ initial = { classes = { before } }, final = { classes = { after } } }, found, 2)
end

describe("what came of a run", function()
  local found = { steps = 100, masked_accuracy = 0.9, cue_hidden = 0.97 }

  it("is help where the cue decides half as much or less", function()
    local helped, text = outcome(class(0.9, 0, true), class(0.1, 0.02), found)
    assert.is_true(helped)
    assert.equal("MaskTune helped: the hottest windows of class cat turned 90 % of other images into it (random ones "
      .. "0 %), and turn 10 % now (random ones 2 %).", text)
  end)

  it("is none where it does not, with what the numbers say of why", function()
    local helped, text = outcome(class(0.9, 0, true), class(0.8, 0), found)
    assert.is_false(helped)
    assert.matches("Why: these numbers do not say%.$", text)
    for reason, numbers in pairs {
      ["the masks missed the cue: they hide 20 %"] = { steps = 100, masked_accuracy = 0.9, cue_hidden = 0.2 },
      ["fine-tuning took 9 steps, which are few"] = { steps = 9, masked_accuracy = 0.9 },
      ["nothing else to learn from: of the answers to masked images 52 %"] = { steps = 100, masked_accuracy = 0.52 },
    } do
      helped, text = outcome(class(0.9, 0, true), class(0.8, 0), numbers)
      assert.is_false(helped)
      assert.truthy(text:find(reason, 1, true), text)
    end
  end)

  it("is neither where no cue was found or the class can no longer be judged", function()
    local helped, text = outcome(class(0.1, 0, false), class(0.1, 0), found)
    assert.is_nil(helped)
    assert.truthy(text:find("no cue was found", 1, true))
    helped, text = story.outcome({ initial = { classes = { class(0.9, 0, true) } } }, found, 2)
    assert.is_false(helped)
    assert.truthy(text:find("too seldom to be judged", 1, true))
  end)

  it("repeats what the recipe says of fine-tunings that broke the net", function()
    assert.equal("MaskTune did not help, and the net as it was trained stays the one to use. Why: no candidate is sound"
      .. ":\n  rate 1", story.unsound "mt.masktune: no candidate is sound:\n  rate 1")
  end)
end)
