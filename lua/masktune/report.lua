--- Results as people and spreadsheets read them: aligned text tables, mean +- std, CSV files.
-- @module masktune.report
local check = require "masktune.check"
local core = require "masktune.core"
local json = require "masktune.json"
local metrics = require "masktune.metrics"
local tables = require "masktune.tables"

local report = {}

-- ---- text ----

--- Mean and sample standard deviation (n - 1), as in the paper's tables.
-- @tparam {number,...} values at least one
-- @treturn number mean
-- @treturn ?number standard deviation; nil for a single value
function report.statistics(values)
  local rule = { type = "list", of = { type = "any" }, min_length = 1 }
  values = check.argument("report.statistics", "values", values, rule)
  return metrics.mean(values), #values > 1 and metrics.std(values) or nil
end

--- "98.4 +- 0.2", or "98.4" for a single value.
-- @tparam {number,...} values
-- @tparam[opt] table options `digits` after the point (1), `scale` every value is multiplied by (1; 100 for per cent)
-- @treturn string
function report.mean_std(values, options)
  local o = check.options("report.mean_std", options, {
    digits = { type = "integer", min = 0, max = 17, default = 1 },
    scale = { type = "number", default = 1 },
  })
  local mean, std = report.statistics(values)
  local number = "%." .. o.digits .. "f"
  if not std then return number:format(mean * o.scale) end
  return (number .. " +- " .. number):format(mean * o.scale, std * math.abs(o.scale))
end

--- A share in per cent, without the last digits that are only rounding; NaN stays NaN.
-- @number share
-- @treturn number
function report.percent(share)
  if type(share) ~= "number" then
    check.fail("report.percent: argument 'share': number expected, got %s", check.describe(share))
  end
  return tonumber(("%.10g"):format(100 * share)) or 0 / 0
end

local function width(text) return utf8.len(text) or #text end

local function padded(text, columns, to_the_right)
  local space = (" "):rep(columns - width(text))
  return to_the_right and space .. text or text .. space
end

--- An aligned table: the first column to the left, the others to the right, a rule under the titles.
-- @tparam {string,...} titles
-- @tparam {table,...} rows lists of cells; missing cells are empty
-- @treturn string lines, each ending in a newline
function report.table(titles, rows)
  check.argument("report.table", "titles", titles, { type = "list", of = { type = "string" }, min_length = 1 })
  check.argument("report.table", "rows", rows, { type = "list", of = { type = "table" } })
  local widths, rules, lines = {}, {}, {}
  for c, title in ipairs(titles) do
    widths[c] = width(title)
    for _, row in ipairs(rows) do
      widths[c] = math.max(widths[c], width(tostring(row[c] or "")))
    end
    rules[c] = ("-"):rep(widths[c])
  end
  local function add(row)
    local cells = {}
    for c = 1, #titles do
      cells[c] = padded(tostring(row[c] or ""), widths[c], c > 1)
    end
    lines[#lines + 1] = table.concat(cells, "  "):gsub("%s+$", "") .. "\n"
  end
  add(titles)
  add(rules)
  for _, row in ipairs(rows) do
    add(row)
  end
  return table.concat(lines)
end

-- ---- CSV ----

local function csv_cell(value)
  local text
  if value == nil or value == json.null then
    text = ""
  elseif type(value) == "number" and value - value == 0 then
    text = json.encode(value) -- the fewest digits that read back as the same number
  else
    text = tostring(value)
  end
  return text:find('[",\r\n]') and '"' .. text:gsub('"', '""') .. '"' or text
end

--- One CSV record (RFC 4180): quoted where needed, ending in CR LF.
-- @tparam table cells
-- @tparam[opt=#cells] integer count number of cells, for lists that hold nil
-- @treturn string
function report.csv_line(cells, count)
  check.argument("report.csv_line", "cells", cells, { type = "table" })
  local rule = { type = "integer", min = 0, max = 65536, default = #cells }
  count = check.argument("report.csv_line", "count", count, rule)
  local texts = {}
  for c = 1, count do
    texts[c] = csv_cell(cells[c])
  end
  return table.concat(texts, ",") .. "\r\n"
end

local function csv_row(where, columns, row)
  local cells, known = {}, {}
  for c, name in ipairs(columns) do
    cells[c], known[name] = row[name], true
  end
  for name in pairs(row) do
    if not known[name] then
      local expected = table.concat(columns, ", ")
      check.fail("%s: row has %s, expected columns: %s", where, check.describe(name), expected)
    end
  end
  return report.csv_line(cells, #columns)
end

local columns_rule = { type = "list", of = { type = "string" }, min_length = 1 }

--- Writes a whole CSV file; a reader sees the old one or the new one, never half of it.
-- @string path
-- @tparam {string,...} columns
-- @tparam {table,...} rows each a table column -> value
function report.write_csv(path, columns, rows)
  check.argument("report.write_csv", "path", path, { type = "string" })
  check.argument("report.write_csv", "columns", columns, columns_rule)
  check.argument("report.write_csv", "rows", rows, { type = "list", of = { type = "table" } })
  local lines = { report.csv_line(columns) }
  for i, row in ipairs(rows) do
    lines[i + 1] = csv_row("report.write_csv", columns, row)
  end
  core.write_file(path, table.concat(lines))
end

--- Adds one row to a CSV file, which is made where it is missing. The file is rewritten whole and put in place at
-- once, so that a kill leaves it with the row or without.
-- @string path
-- @tparam {string,...} columns must be those of the file
-- @tparam table row column -> value
function report.append_csv(path, columns, row)
  check.argument("report.append_csv", "path", path, { type = "string" })
  check.argument("report.append_csv", "columns", columns, columns_rule)
  check.argument("report.append_csv", "row", row, { type = "table" })
  local header = report.csv_line(columns)
  local content = core.file_exists(path) and core.read_file(path) or header
  if content:sub(1, #header) ~= header then
    check.fail("report.append_csv: '%s' begins with '%s', expected the columns %s",
      path, content:match("^[^\r\n]*"), table.concat(columns, ","))
  end
  core.write_file(path, content .. csv_row("report.append_csv", columns, row))
end

--- Writes a CSV file of several runs, again and again as they advance.
-- @string path
-- @tparam {string,...} columns
-- @treturn function (run, rows): the rows of a run, counted from 1, replace those it gave before
function report.csv_by_run(path, columns)
  local rows_of = {}
  return function(run, rows)
    rows_of[run] = rows
    local all = {}
    for _, list in ipairs(rows_of) do
      table.move(list, 1, #list, #all + 1, all)
    end
    report.write_csv(path, columns, all)
  end
end

-- ---- histories ----

--- The columns of a file with the epochs of runs.
report.epoch_columns = {
  "seed", "stage", "iteration", "epoch", "lr", "k", "train_loss", "train_accuracy", "val_loss", "val_accuracy",
  "exchanged_accuracy", "score", "val_worst_class", "val_worst_group", "unmasked_accuracy", "seconds",
}

--- Rows for epoch_columns.
-- @tparam integer seed
-- @string stage
-- @tparam {table,...} history as in mt.train, or the `candidates` of a fine-tuning, which is one epoch each
-- @treturn {table,...}
function report.epoch_rows(seed, stage, history)
  local rows = {}
  for i, epoch in ipairs(history) do
    rows[i] = tables.merged({ epoch = 1 }, epoch, { seed = seed, stage = stage })
    rows[i] = tables.without(rows[i], { "judged", "problem", "epochs", "steps" }) -- a list, whose mean is there; words
  end
  return rows
end

return report
