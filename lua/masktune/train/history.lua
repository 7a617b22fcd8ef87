--- The rows of a training, epoch after epoch, that print as a table.
-- @module masktune.train.history
local report = require "masktune.report"

local history = {}

local History = { __name = "masktune.History" }

local COLUMNS = {
  { "epoch", "epoch", "%d" }, { "lr", "rate", "%.4g" }, { "train_loss", "loss", "%.4f" },
  { "train_accuracy", "accuracy", "%.2f%%", 100 }, { "val_loss", "validation loss", "%.4f" },
  { "val_accuracy", "accuracy", "%.2f%%", 100 }, { "seconds", "seconds", "%.1f" },
}

function History.__tostring(rows)
  local titles, cells = {}, {}
  for c, column in ipairs(COLUMNS) do
    titles[c] = column[2]
  end
  for r, row in ipairs(rows) do
    cells[r] = {}
    for c, column in ipairs(COLUMNS) do
      local value = row[column[1]]
      cells[r][c] = value and column[3]:format(value * (column[4] or 1)) or ""
    end
  end
  return report.table(titles, cells)
end

--- Makes a list of rows print.
-- @tparam {table,...} rows
-- @treturn table the same
function history.named(rows) return setmetatable(rows, History) end

return history
