--- An experiment's results: the paper's table, and results.json.
-- @module masktune.experiment.results
local json = require "masktune.json"
local report = require "masktune.report"

local results = {}

--- The command of the whole run, as one can type it again: whether it was interrupted makes no difference.
local function command_of(arguments)
  local words = { arguments[0] }
  for _, word in ipairs(arguments) do
    if word ~= "--resume" and word ~= "--overwrite" then
      words[#words + 1] = word:find("^[%w_./,:=+-]+$") and word or "'" .. word:gsub("'", [['\'']]) .. "'"
    end
  end
  return "lua5.4 " .. table.concat(words, " ")
end

--- One row's values over the seeds, in per cent; null where a seed has none, because every rate was refused.
local function values_of(runs, place, column)
  local list = json.array()
  for i, run in ipairs(runs) do
    local values = run.rows[place].values
    list[i] = values and report.percent(values[column]) or json.null
  end
  return list
end

--- Those of the seeds that have one, as text, and how many these are where some have none.
local function mean_std(values)
  local there = {}
  for _, value in ipairs(values) do
    if value ~= json.null then there[#there + 1] = value end
  end
  if #there == 0 then return "no sound rate" end
  return report.mean_std(there) .. (#there < #values and (" (%d of %d)"):format(#there, #values) or "")
end

--- name -> per cent of each seed, of a row's parts (groups, or tests).
local function parts_of(runs, place)
  local parts = {}
  for _, run in ipairs(runs) do
    for name, value in pairs(run.rows[place].parts or {}) do
      parts[name] = parts[name] or json.array()
      table.insert(parts[name], report.percent(value))
    end
  end
  return parts
end

local function tuning_of(runs, place)
  local list = json.array()
  for i, run in ipairs(runs) do
    local row = run.rows[place]
    list[i] = {
      seconds = row.seconds, finetune = row.finetune, hidden = row.hidden and report.percent(row.hidden),
      nothing_hidden = row.nothing_hidden, problem = row.problem,
    }
  end
  return list
end

--- All that results.json holds.
-- @tparam table experiment the recipe
-- @tparam table o the command line's values
-- @tparam {table,...} rows
-- @tparam {table,...} runs one for each seed, as from masktune.experiment.seed
-- @number seconds
-- @treturn table
function results.collect(experiment, o, rows, runs, seconds)
  local collected = {
    experiment = experiment.title, command = command_of(arg), seeds = json.array(o.seeds), columns = json.array(
      experiment.columns), net = o.net, size = o.size, epochs = o.epochs, batch = o.batch, lr = o.lr,
    weight_decay = o.weight_decay, cam = o.cam, layer = o.layer, limit = o.limit, select = o.select,
    freeze = o.freeze,
    rows = json.array(), seconds = seconds,
  }
  for place, row in ipairs(rows) do
    local values = {}
    for column, name in ipairs(experiment.columns) do
      values[name] = values_of(runs, place, column)
    end
    collected.rows[place] = {
      key = row.key, title = row.title, labels = row.labels, accuracy = values, parts = parts_of(runs, place),
      runs = tuning_of(runs, place),
    }
  end
  return collected
end

--- The table that is printed.
-- @tparam table collected as from collect
-- @treturn string
function results.table(collected)
  local titles, lines = { "accuracy in %" }, {}
  table.move(collected.columns, 1, #collected.columns, 2, titles)
  titles[#titles + 1] = "labels used"
  for i, row in ipairs(collected.rows) do
    local cells = { row.title }
    for _, column in ipairs(collected.columns) do
      cells[#cells + 1] = mean_std(row.accuracy[column])
    end
    cells[#cells + 1] = row.labels
    lines[i] = cells
  end
  return report.table(titles, lines)
end

--- Prints the table and what one needs to know beside it.
function results.print(collected, o)
  print(("\n%s, %s, %d pixels, %d epochs, %d seed%s"):format(collected.experiment, o.net, o.size, o.epochs, #o.seeds,
    #o.seeds == 1 and "" or "s (mean +- std)"))
  print(results.table(collected))
  for _, row in ipairs(collected.rows) do
    local rates, hidden = {}, {}
    for _, run in ipairs(row.runs) do
      if run.finetune then rates[#rates + 1] = ("%.4g"):format(run.finetune.lr) end
      if run.hidden and run.hidden > 0 then hidden[#hidden + 1] = run.hidden end
    end
    if #rates > 0 then
      local area = #hidden > 0 and (", %s%% of the pixels hidden"):format(report.mean_std(hidden)) or ""
      print(("%s: fine-tuned at rate %s%s"):format(row.title, table.concat(rates, ", "), area))
    end
  end
  print(collected.command)
  print(("results.json, metrics.csv, heatmaps.png and checkpoints are in %s"):format(o.out))
end

return results
