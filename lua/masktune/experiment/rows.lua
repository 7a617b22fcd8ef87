--- What an experiment compares: one row of its table for each method, and for MaskTune one for each protocol and rate.
-- @module masktune.experiment.rows
local methods = require "masktune.methods"
local tables = require "masktune.tables"

local AREA = { method = "randmask", random = "area", title = "RandMask, same area" }

local rows = {
  --- Forms of a method that the table names apart from it.
  forms = { randmask_area = AREA },
}

--- These, and the controls at the rate that MaskTune chose (`matched`), for tables whose methods have one rate each;
-- the photo programs' `--control-lr` says the same of all controls at once.
rows.forms_and_matched = tables.merged(rows.forms, {
  continue_matched = { method = "continue", title = "one more epoch, MaskTune's rate", matched = true },
  randmask_area_matched = tables.merged(AREA, { title = AREA.title .. ", MaskTune's rate", matched = true }),
})

--- A name of the command line -> its method, and what differs from that method's defaults.
-- @string name
-- @treturn table of mt.methods
-- @treturn table `method`, its name, and options; `title` where the method's own does not say it, `matched` where it is
-- fine-tuned at MaskTune's rate
function rows.method_of(name)
  local form = rows.forms_and_matched[name] or { method = name }
  return methods[form.method], form
end

--- How a row is called.
-- @string name
-- @treturn string
function rows.title_of(name)
  local method, form = rows.method_of(name)
  return form.title or method.title
end

--- Refuses matched controls that do not come behind what they are matched with.
-- @tparam {string,...} names
function rows.check_matched(names)
  local tuned = false
  for _, name in ipairs(names) do
    tuned = tuned or name == "masktune"
    if select(2, rows.method_of(name)).matched and not tuned then
      error(("--methods: %s takes MaskTune's rate: masktune expected before it"):format(name), 0)
    end
  end
end

--- What a row uses beside the images: its method's labels, and those of the validation split's groups where a choice
-- goes by them.
local function labels_of(o, method)
  local by_group = { worst_group = true, balanced_group = true, weighted = true }
  local chosen = by_group[o.select] or method.schema.auto and by_group[o.auto_by]
  return method.labels .. (chosen and ", groups of validation" or "")
end

local function rate_text(rate) return type(rate) == "number" and ("rate %g"):format(rate) or rate end

--- How a row's masks and rate are called: in its title, and in its key.
local function names_of(name, protocol, rate)
  if rate == "matched" then return "MaskTune's rate, " .. protocol, "matched-" .. protocol end
  local text = name == "masktune" and protocol .. ", " .. rate_text(rate) or rate_text(rate)
  return text, (text:gsub("[, ]+", "-"))
end

--- One row: the options that its method takes. A matched one gets its rate when MaskTune's is known.
local function row_of(o, name, protocol, rate)
  local method, form = rows.method_of(name)
  local all = tables.merged(form, o.threshold, {
    cam = o.cam,
    protocol = protocol,
    empty = o.empty,
    iterations = o.iterations,
    accumulate = o.accumulate,
    finetune_lr = rate ~= "matched" and rate or nil,
    auto = { by = o.auto_by },
  })
  local row = { key = name, title = rows.title_of(name), labels = labels_of(o, method), method = form.method }
  row.options = tables.merged(tables.picked(all, method.schema), { method = form.method })
  if method.schema.finetune_lr then
    local title, key = names_of(name, protocol, rate)
    row.title, row.key = ("%s (%s)"):format(row.title, title), ("%s-%s"):format(name, key)
  end
  if rate == "matched" then row.rate_of = row_of(o, "masktune", protocol, "auto").key end
  return row
end

local function has(list, value)
  for _, item in ipairs(list) do
    if item == value then return true end
  end
  return false
end

--- The controls' rates that are known beforehand, and whether there are controls at the rates that "auto" chooses.
local function control_rates(o)
  local matched = has(o.control_lr, "matched") and has(o.method, "masktune")
  local rates = {}
  for _, rate in ipairs(o.control_lr) do
    if rate ~= "matched" then rates[#rates + 1] = rate end
  end
  for _, rate in ipairs(matched and o.finetune_lr or {}) do
    if rate ~= "auto" and not has(rates, rate) then rates[#rates + 1] = rate end
  end
  return rates, matched and has(o.finetune_lr, "auto")
end

--- The controls among the methods: those that are fine-tuned, but MaskTune.
local function controls_in(o)
  local list = {}
  for _, name in ipairs(o.method) do
    if name ~= "masktune" and rows.method_of(name).schema.finetune_lr then list[#list + 1] = name end
  end
  return list
end

--- The rows, in their order. One with `rate_of`, a control, is fine-tuned at the rate that the row of this key, which
-- comes before it, has chosen.
-- @tparam table o the command line's values
-- @treturn {table,...} each with `key`, `title`, `labels` (used), `method` and `options` (of mt.masktune)
function rows.of(o)
  local list, controls, rates, matched = {}, controls_in(o), control_rates(o)
  if #controls > 0 and #rates == 0 and not matched then
    error("--control-lr matched: MaskTune's rates are meant, and masktune is not in --method", 0)
  end
  for _, name in ipairs(o.method) do
    local own = name == "masktune" and o.finetune_lr or has(controls, name) and rates or { "none" }
    for _, protocol in ipairs(name == "masktune" and o.protocol or { o.protocol[1] }) do
      for _, rate in ipairs(own) do
        list[#list + 1] = row_of(o, name, protocol, rate)
      end
    end
  end
  for _, protocol in ipairs(matched and o.protocol or {}) do
    for _, name in ipairs(controls) do
      list[#list + 1] = row_of(o, name, protocol, "matched")
    end
  end
  return list
end

return rows
