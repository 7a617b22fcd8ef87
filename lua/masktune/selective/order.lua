--- Answers in the order of their scores.
-- @module masktune.selective.order
local order = {}

--- Positions by falling score; of equal scores the first comes first.
-- @tparam {number,...} scores
-- @treturn {integer,...}
function order.falling(scores)
  local positions = {}
  for n = 1, #scores do
    positions[n] = n
  end
  table.sort(positions, function(a, b)
    if scores[a] ~= scores[b] then return scores[a] > scores[b] end
    return a < b
  end)
  return positions
end

--- The sets of answers that a threshold can keep, smallest first: those that share a score are kept or not together.
-- @tparam {number,...} scores
-- @tparam {boolean,...} wrong
-- @treturn {table,...} `kept` (how many), `errors` among them, `score` (the lowest that is kept)
function order.prefixes(scores, wrong)
  local positions, prefixes, errors = order.falling(scores), {}, 0
  for kept, n in ipairs(positions) do
    if wrong[n] then errors = errors + 1 end
    local following = positions[kept + 1]
    if not following or scores[following] < scores[n] then
      prefixes[#prefixes + 1] = { kept = kept, errors = errors, score = scores[n] }
    end
  end
  return prefixes
end

--- The largest number below a finite x: "score > just_below(x)" means "score >= x".
-- @number x
-- @treturn number
function order.just_below(x)
  x = x + 0.0
  if x == 0 then return -0x1p-1074 end
  local bits = ("<i8"):unpack(("<d"):pack(x))
  return (("<d"):unpack(("<i8"):pack(x > 0 and bits - 1 or bits + 1)))
end

return order
