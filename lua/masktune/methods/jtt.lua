--- JTT, just train twice (Liu et al. 2021): ERM for a few epochs; then from the beginning again, with what it got wrong
-- shown `upweight` times. Its first training must be short (or its weight decay strong): where it fits all images,
-- nothing is wrong, and the second is ERM; this is said. The published 60 of 300 epochs (Waterbirds) is the default
-- share; for CelebA they took 1 of 50. SubpopBench judges errors anew in each step instead of once, and
-- BalancingGroups' version once gave the weight to what was right.
local find = require "masktune.groups"
local notice = require "masktune.notice"
local samplers = require "masktune.data.samplers"
local tables = require "masktune.tables"
local training = require "masktune.recipe.training"

--- All positions, those of part 2 `times` times.
local function repeated(parts, times)
  local positions, wrong = {}, 0
  for i, part in ipairs(parts) do
    for _ = 1, part == 2 and times or 1 do
      positions[#positions + 1] = i
    end
    wrong = wrong + part - 1
  end
  return positions, wrong
end

local schema = tables.merged(training.schema, training.first_schema, {
  upweight = { type = "integer", min = 1, default = 100 },
})

return {
  title = "JTT",
  summary = "trains again, with what a first training got wrong shown many times",
  paper = "Liu et al. 2021",
  labels = "class",
  stages = "training, errors, training",
  cost = "a fifth of the epochs, then more than the epochs: the errors' images times upweight",
  schema = schema,
  run = function(model, o, context)
    training.refuse(o, context, { "sampler" })
    local first = training.first(model, o, context, o.first_epochs or math.ceil(o.epochs / 5))
    local found = find.errors(first, o.train)
    local positions, wrong = repeated(found.part:totable(), o.upweight)
    if wrong == 0 then
      notice.say("%s: the first training gets nothing wrong, and the second is plain ERM: fewer first_epochs, or a "
        .. "stronger weight_decay, may help", context.where)
    end
    local trained = training.train(model, o, context, {
      name = "jtt", schema = schema, sampler = samplers.subset { indices = positions },
    })
    local result = training.result(model, o, context, trained)
    result.errors = wrong
    return result
  end,
}
