--- Clusters: Lloyd's algorithm from k-means++ starts (Arthur and Vassilvitskii 2007).
-- @module masktune.kmeans
local core = require "masktune.core"
local groups = require "masktune.data.groups"

local ROUNDS = 100

--- Squared distances of rows to centres, {N,k}.
local function distances(rows, centres)
  local lengths = (centres * centres):sum(2):reshape(1, -1)
  return (rows * rows):sum(2):reshape(-1, 1) + lengths - rows:matmul(centres:transpose(1, 2)) * 2
end

--- A position with a probability in proportion to its weight.
local function drawn(weights, generator)
  local sum = 0
  for _, weight in ipairs(weights) do
    sum = sum + weight
  end
  local left = generator:uniform() * sum
  for i, weight in ipairs(weights) do
    left = left - weight
    if left < 0 then return i end
  end
  return #weights
end

local function first_centres(rows, k, generator)
  local chosen = { generator:integer(1, #rows) }
  while #chosen < k do
    local nearest = distances(rows, rows:index(chosen)):min(2):clamp(0, math.huge)
    chosen[#chosen + 1] = drawn(nearest:totable(), generator)
  end
  return rows:index(chosen)
end

--- Puts rows into clusters.
-- @tparam Tensor rows float32 {N,D}
-- @tparam integer k
-- @tparam integer seed
-- @treturn {integer,...} 1..k for each row
return function(rows, k, seed)
  k = math.min(k, #rows)
  local centres = first_centres(rows, k, core.generator(seed))
  local before
  for _ = 1, ROUNDS do
    local assigned = (-distances(rows, centres)):argmax(2)
    if before and assigned:ne(before):sum():item() == 0 then break end
    before = assigned
    local members = groups.members(assigned, k)
    local counts = members:sum(2):reshape(-1, 1)
    local means = members:matmul(rows) / counts:clamp(1, math.huge)
    centres = core.where(counts:gt(0):expand(means:shape()), means, centres)
  end
  return before:totable()
end
