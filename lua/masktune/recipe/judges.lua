--- What candidates are judged by, without group labels.
-- A shortcut can fail a net in two ways: it is missing, or it is there and belongs to another class. Validation images
-- show neither, but both can be made of them with the masks at hand:
--
-- * masked images, where what the masker looked at is hidden;
-- * exchanged images, where what it looked at in an image (the donor) is pasted over an image of another class (the
--   host), which has to keep its label.
--
-- Fine-tuning sees masked images, so all candidates do well on those, and they say little about what is left of the
-- weights that read the shortcut: where it is hidden these are idle. Exchanged images put them to work. A candidate's
-- score is its mean accuracy on the two halves.
--
-- Not every image is a fit donor. Where the masker answers by what is not there (no square), or the mask is on one part
-- of the object among others, the pasted pixels are honest evidence, which a good net heeds. So the donors are the
-- images whose answer changes when their pixels are hidden: there, what is hidden carried the answer. They are found
-- with the masker alone, the same for all candidates.
--
-- It does not work where masks miss the shortcut (then nothing here shows it), where the shortcut is no place in the
-- image (a tint, a texture everywhere: pasted in part, it is weaker than whole), or where what carries the answer is
-- the object itself: then the best score is that of the net that heeds the object least. Without donors the masked
-- images decide alone.
-- @module masktune.recipe.judges
local core = require "masktune.core"
local dataset = require "masktune.data.dataset"
local evaluate = require "masktune.evaluate"
local masks = require "masktune.recipe.masks"
local metrics = require "masktune.metrics"

local judges = {
  --- What a stage on disk was judged by.
  name = "masked and exchanged images",
}

--- The images whose answer changes when they are masked.
-- @treturn {integer,...} positions
-- @treturn {integer,...} position -> answer to the image as it is
local function donors_of(masker, set, masked)
  local answers = evaluate(masker, set, { predictions = true }).predictions
  local donors = {}
  for i, answer in ipairs(evaluate(masker, masked, { predictions = true }).predictions) do
    if answer ~= answers[i] then donors[#donors + 1] = i end
  end
  return donors, answers
end

local DRAWS = 2 -- for each image: with two classes about every second one is of another class

--- The donors in turn, each with a random image; what is left where this is not of the class the donor was taken for.
-- @treturn {integer,...} positions of donors
-- @treturn {integer,...} and of their hosts
local function pairs_of(donors, answers, labels, generator)
  local giving, hosts = {}, {}
  for i = 1, #donors > 0 and DRAWS * #labels or 0 do
    local donor, host = donors[(i - 1) % #donors + 1], generator:integer(1, #labels)
    if labels[host] ~= answers[donor] then giving[#giving + 1], hosts[#hosts + 1] = donor, host end
  end
  return giving, hosts
end

--- The exchanged images of a set.
-- @tparam Module masker what the masks come from
-- @tparam table set data set
-- @tparam Masks|Tensor keep its masks
-- @tparam table masked the set with the masks
-- @tparam integer seed of who is given what
-- @treturn ?table data set; nil where no answer changes when images are masked
function judges.exchanged(masker, set, keep, masked, seed)
  local donors, answers = donors_of(masker, set, masked)
  local giving, hosts = pairs_of(donors, answers, set.labels:totable(), core.generator(seed))
  if #giving == 0 then return nil end
  return masks.paste(dataset.subset(set, hosts), dataset.subset(set, giving), keep:index(giving))
end

--- Makes the judge of one kind of masks.
-- @tparam Module masker what the masks come from
-- @tparam table set validation split
-- @tparam ?Masks|Tensor keep its masks; nil: the judge is the split as it is
-- @tparam integer seed of the exchange
-- @string[opt="zero"] fill of the masked images
-- @treturn table `masked`, `exchanged`: data sets; the latter is nil where no answer changes when images are masked
function judges.new(masker, set, keep, seed, fill)
  local masked = masks.apply(set, keep, fill)
  return { masked = masked, exchanged = keep and judges.exchanged(masker, set, keep, masked, seed) }
end

--- What judges measure of a model.
-- @tparam Module model
-- @tparam {table,...} list of judges
-- @treturn table `judged`: scores, one per judge; and means over the judges: `score`, `val_accuracy` and `val_loss` on
-- the masked images, `exchanged_accuracy` (nil where no judge has exchanged images); without judges only `judged`,
-- empty
function judges.measure(model, list)
  local judged, accuracies, losses, kept = {}, {}, {}, {}
  for i, judge in ipairs(list) do
    local measured = evaluate(model, judge.masked)
    accuracies[i], losses[i], judged[i] = measured.accuracy, measured.loss, measured.accuracy
    if judge.exchanged then
      local accuracy = evaluate(model, judge.exchanged).accuracy
      kept[#kept + 1], judged[i] = accuracy, (measured.accuracy + accuracy) / 2
    end
  end
  if #judged == 0 then return { judged = judged } end
  return {
    judged = judged,
    score = metrics.mean(judged),
    val_accuracy = metrics.mean(accuracies),
    val_loss = metrics.mean(losses),
    exchanged_accuracy = #kept > 0 and metrics.mean(kept) or nil,
  }
end

return judges
