--- From measurements to words. The bounds were set on biased and unbiased MNIST, drawn digits and photos with planted
-- stickers (spec/diagnose), where nets that lean and nets that do not lie far apart on both sides of them.
-- @module masktune.diagnose.verdict
local verdict = {}

local DECIDES = 0.15 -- of other images turned into the class, beyond what random windows turn
local COLORS = 0.4 -- of what the net knows survives when the pixels are shuffled
local SAME = 0.5 -- of a class's windows at one place, or alike

--- How much windows decide, beyond chance.
local function decides(row) return math.max(0, row.carried - row.carried_random) end

--- How much a class's windows are the same thing: at one place, or alike and not found everywhere.
local function sameness(row)
  return math.max(row.place.share, row.content.share - row.content.elsewhere)
end

local function percent(share) return ("%.0f %%"):format(100 * share) end

local function describe(row)
  local what = ("%s (%s)"):format(row.place.name, row.content.color)
  local share = row.place.share
  if row.place.share < SAME then
    what, share = ("something %s, at no fixed place"):format(row.content.color), row.content.share
  end
  return ("%s, %s of class %s"):format(what, percent(share), row.name)
end

--- Adds `score`, `leans` and `text` to the row of a class.
function verdict.of_class(row)
  row.score = math.min(1, decides(row)) * sameness(row)
  row.leans = decides(row) >= DECIDES and sameness(row) >= SAME
  row.text = row.leans and describe(row) or "no sign of one cue"
  return row
end

--- The verdict on all classes.
-- @tparam {table,...} rows of the classes
-- @tparam table result further fields
-- @treturn table result
function verdict.of_all(rows, result)
  local texts = {}
  result.classes, result.leans, result.score = rows, false, 0
  for _, row in ipairs(rows) do
    result.score = math.max(result.score, row.score)
    if row.leans then texts[#texts + 1] = row.text end
  end
  if #texts == 0 and result.color_share >= COLORS then
    texts[1] = ("colour wherever it lies: %s of what the net knows is left when the pixels are shuffled (no mask can "
      .. "hide that)"):format(percent(result.color_share))
    result.score = math.max(result.score, result.color_share)
  end
  result.leans = #texts > 0
  if #rows == 0 then
    result.verdict = "no verdict: too few images of any class are answered rightly, or all are answered alike"
  else
    result.verdict = result.leans and "leans on: " .. table.concat(texts, "; ") or "no sign of one cue"
  end
  return result
end

--- The report as text.
function verdict.text(result)
  local lines = {
    result.verdict,
    ("looked at %d images of %s, windows of %dx%d; accuracy %s, with the most relevant window hidden %s, a random one "
      .. "%s, the least relevant %s"):format(result.count, result.name or "the data set", result.side, result.side,
      percent(result.accuracy.whole), percent(result.accuracy.most), percent(result.accuracy.random),
      percent(result.accuracy.least)),
    ("shuffled pixels leave %s of what it knows beyond chance"):format(percent(result.color_share)),
  }
  for _, row in ipairs(result.classes) do
    lines[#lines + 1] = ("class %s: %s. Its hottest windows turn %s of other images into it (random ones %s); %s lie at"
      .. " one place (%s), %s look alike (%s); hiding them costs %.2f of confidence (random ones %.2f)"):format(
      row.name,
      row.text, percent(row.carried), percent(row.carried_random), percent(row.place.share), row.place.name,
      percent(row.content.share), row.content.color, row.drop.most, row.drop.random)
  end
  return table.concat(lines, "\n")
end

return verdict
