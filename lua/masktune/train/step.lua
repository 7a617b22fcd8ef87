--- One step of training: the loss, its gradient (over micro-batches where asked), the optimiser's step.
-- @module masktune.train.step
local check = require "masktune.check"
local core = require "masktune.core"
local dist = require "masktune.dist"
local ranks = require "masktune.train.ranks"

local function refuse(value, run, lr)
  error(("mt.train: the loss is %s in epoch %d, step %d (learning rate %.6g): training stopped before this step "
    .. "changed the weights; a smaller rate or other data may help"):format(value, run.epoch, run.step, lr), 0)
end

--- The number that an objective's loss holds.
local function value_of(loss, run)
  if not check.is_tensor(loss) then
    error(("mt.train: option 'objective': the loss is %s in epoch %d, step %d, expected a tensor of one number"):format(
      check.describe(loss), run.epoch, run.step), 0)
  end
  if #loss:shape() > 0 and loss:reshape(-1):size(1) ~= 1 then
    error(("mt.train: option 'objective': the loss has shape {%s} in epoch %d, step %d, expected one number (its mean)")
      :format(table.concat(loss:shape(), ","), run.epoch, run.step), 0)
  end
  return loss:item()
end

--- Rows first to first + count - 1 of a batch, as a batch.
local function part_of(batch, first, count)
  local part = {}
  for name, value in pairs(batch) do
    part[name] = check.is_tensor(value) and value:narrow(1, first, count) or value
  end
  return part
end

--- A batch in parts of at most `most` images, as even as can be: no part is a single image unless the batch is. All
-- ranks make as many parts as the one with most images needs.
local function parts_of(batch, most)
  local size = #batch.labels
  local largest = (batch.total + dist.world() - 1) // dist.world()
  if not most or most >= largest then return { batch } end
  local count, parts, first = (largest + most - 1) // most, {}, 1
  for i = 1, count do
    local rows = (size * i) // count - (size * (i - 1)) // count
    parts[i] = part_of(batch, first, rows)
    first = first + rows
  end
  return parts
end

local function right_answers(logits, labels)
  if not (check.is_tensor(logits) and #logits:shape() == 2 and logits:size(1) == #labels) then return nil end
  return logits:argmax(2):eq(labels):sum():item()
end

--- A step on one batch.
-- @tparam table run what the objective and the hooks are given
-- @tparam Module model
-- @tparam table batch record
-- @tparam table o options of mt.train
-- @number lr
-- @tparam ?table exchange as from masktune.train.ranks
-- @treturn number mean loss
-- @treturn ?number right answers; nil where the objective gives no logits
local function step(run, model, batch, o, lr, exchange)
  local optimizer, size = o.optimizer, batch.total
  optimizer:zero_grad()
  local mean, right = 0, 0
  local parts = parts_of(batch, o.micro_batch)
  for i, part in ipairs(parts) do
    local share = #part.labels / size
    local loss, logits = o.objective(model, part, run)
    local value = value_of(loss, run)
    if value - value ~= 0 then refuse(value, run, lr) end
    if exchange and i == #parts then exchange:begin() end
    if share == 1 then loss:backward() else (loss * share):backward() end
    mean = mean + value * share
    local good = right_answers(logits, part.labels)
    right = good and right and right + good
  end
  if exchange then exchange:finish() end
  mean, right = ranks.sums(mean, right)
  if o.clip_grad_norm then core.optim.clip_grad_norm(model:parameters(), o.clip_grad_norm) end
  if o.before_step then o.before_step(model, batch, run) end
  optimizer:step()
  if o.after_step then o.after_step(model, batch, run) end
  return mean, right
end

return step
