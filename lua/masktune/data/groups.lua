--- Groups of images: a per-image field of a data set with numbers 1..G, such as class x background.
-- @module masktune.data.groups
local check = require "masktune.check"
local core = require "masktune.core"

local groups = {}

--- The field as a tensor, checked.
-- @string where the public function, for messages
-- @tparam table set
-- @string name of the field
-- @treturn Tensor int32 {N}
-- @treturn {integer,...} how many images each of the groups 1..G has (0 where none)
function groups.column(where, set, name)
  local column = set[name]
  if not check.is_tensor(column) then
    check.fail("%s: the training set has no per-image field '%s' with the groups (integers from 1); mt.groups finds "
      .. "some without labels", where, name)
  end
  if column:dtype() == "float32" or #column:shape() ~= 1 then
    check.fail("%s: field '%s': integers {N} expected, got %s {%s}", where, name, column:dtype(),
      table.concat(column:shape(), ","))
  end
  local counts = {}
  for i, group in ipairs(column:totable()) do
    if group < 1 or group > 65536 then
      check.fail("%s: field '%s': image %d is of group %s, expected 1 to 65536", where, name, i, group)
    end
    for new = #counts + 1, group do
      counts[new] = 0
    end
    counts[group] = counts[group] + 1
  end
  return column:to("int32"), counts
end

--- Which of the values each image has.
-- @tparam Tensor column integers {B}, 1..count
-- @tparam integer count
-- @treturn Tensor float32 {count,B} of 0 and 1
function groups.members(column, count)
  return core.arange(1, count + 1, "int32"):reshape(count, 1):eq(column:to("int32"):reshape(1, -1)):to("float32")
end

--- The mean of per-image values in each group; 0 where a group has no image.
-- @tparam Tensor values float32 {B}
-- @tparam Tensor members as above
-- @treturn Tensor float32 {count}
-- @treturn Tensor float32 {count} images in each
function groups.means(values, members)
  local counts = members:sum(2)
  return members:matmul(values:reshape(-1, 1)):reshape(-1) / counts:clamp(1, math.huge), counts
end

return groups
