--- What an experiment compares: one row of its table for each method, and for MaskTune one for each protocol and rate.
-- @module masktune.experiment.rows
local methods = require "masktune.methods"
local tables = require "masktune.tables"

local rows = {
  --- Forms of a method that the table names apart from it.
  forms = { randmask_area = { method = "randmask", random = "area", title = "RandMask, same area" } },
}

--- What a row uses beside the images: its method's labels, and those of the validation split's groups where a choice
-- goes by them.
local function labels_of(o, method)
  local by_group = { worst_group = true, balanced_group = true, weighted = true }
  local chosen = by_group[o.select] or method.schema.auto and by_group[o.auto_by]
  return method.labels .. (chosen and ", groups of validation" or "")
end

local function rate_text(rate) return type(rate) == "number" and ("rate %g"):format(rate) or rate end

--- One row: the options that its method takes.
local function row_of(o, name, protocol, rate)
  local form = rows.forms[name] or { method = name }
  local method = methods[form.method]
  local all = tables.merged(form, {
    cam = o.cam,
    protocol = protocol,
    rule = o.threshold.rule,
    k = o.threshold.k,
    top = o.threshold.top,
    empty = o.empty,
    iterations = o.iterations,
    accumulate = o.accumulate,
    finetune_lr = rate,
    auto = { by = o.auto_by },
  })
  local row = { key = name, title = form.title or method.title, labels = labels_of(o, method), method = form.method }
  row.options = tables.merged(tables.picked(all, method.schema), { method = form.method })
  if method.schema.finetune_lr then
    local what = name == "masktune" and protocol .. ", " .. rate_text(rate) or rate_text(rate)
    row.title = ("%s (%s)"):format(row.title, what)
    row.key = ("%s-%s"):format(name, what:gsub("[, ]+", "-"))
  end
  return row
end

--- The rows, in their order.
-- @tparam table o the command line's values
-- @treturn {table,...} each with `key`, `title`, `labels` (used), `method` and `options` (of mt.masktune)
function rows.of(o)
  local list = {}
  for _, name in ipairs(o.method) do
    local tunes = methods[(rows.forms[name] or { method = name }).method].schema.finetune_lr
    local rates = name == "masktune" and o.finetune_lr or tunes and o.control_lr or { "none" }
    for _, protocol in ipairs(name == "masktune" and o.protocol or { o.protocol[1] }) do
      for _, rate in ipairs(rates) do
        list[#list + 1] = row_of(o, name, protocol, rate)
      end
    end
  end
  return list
end

return rows
