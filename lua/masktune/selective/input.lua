--- What the selective functions are given, read once and checked: probabilities, labels, answers.
-- Numbers are Lua's doubles from here on. In float32 the probabilities of confident nets round to exactly 1, and then
-- many images share one score; see masktune.selective.predict.
-- @module masktune.selective.input
local check = require "masktune.check"

local input = {}

local SUM_TOLERANCE = 1e-3 -- of a row of probabilities, which float32 rounds

--- A function that raises "<where>: argument '<name>': ...".
local function refuser(where, name)
  return function(message, ...)
    error(("%s: argument '%s': "):format(where, name) .. message:format(...), 0)
  end
end

--- The rows of a float32 tensor or table.
local function rows_of(value, refuse)
  if check.is_tensor(value) then
    if value:dtype() ~= "float32" then refuse("float32 tensor {N,k} expected, got %s", value:dtype()) end
    if #value:shape() ~= 2 then
      refuse("tensor with 2 axes {N,k} expected, got {%s}", table.concat(value:shape(), ","))
    end
    return value:totable()
  end
  if type(value) ~= "table" then refuse("tensor {N,k} or list of rows expected, got %s", check.describe(value)) end
  return value
end

local function check_row(row, n, classes, refuse)
  if type(row) ~= "table" or #row ~= classes then
    local got = type(row) == "table" and #row .. " values" or check.describe(row)
    refuse("row %d is %s, expected %d probabilities", n, got, classes)
  end
  local sum = 0
  for class = 1, classes do
    local p = row[class]
    if type(p) ~= "number" or not (p >= 0 and p <= 1) then
      refuse("row %d, class %d is %s, expected a probability in [0, 1]", n, class, check.describe(p))
    end
    sum = sum + p
  end
  if math.abs(sum - 1) > SUM_TOLERANCE then refuse("row %d sums to %.6g, expected 1", n, sum) end
end

--- Probabilities as a list of rows.
-- @string where the public function
-- @string name the argument
-- @param value float32 tensor {N,k}, or a list of N lists of k numbers; each row sums to 1
-- @treturn {{number,...},...}
function input.probabilities(where, name, value)
  local refuse = refuser(where, name)
  local rows = rows_of(value, refuse)
  if #rows == 0 then refuse("1 row or more expected, got 0") end
  local classes = type(rows[1]) == "table" and #rows[1] or 0
  if classes == 0 then refuse("1 class or more expected, got 0") end
  for n, row in ipairs(rows) do
    check_row(row, n, classes, refuse)
  end
  return rows
end

--- A list of numbers from a tensor of the dtype, or a list.
local function numbers_of(value, dtype, refuse)
  if check.is_tensor(value) then
    if value:dtype() ~= dtype then refuse("%s tensor {N} expected, got %s", dtype, value:dtype()) end
    if #value:shape() ~= 1 then
      refuse("tensor with 1 axis {N} expected, got {%s}", table.concat(value:shape(), ","))
    end
    return value:totable()
  end
  if type(value) ~= "table" then refuse("tensor {N} or list expected, got %s", check.describe(value)) end
  return value
end

--- Scores: a list of one or more finite numbers.
function input.scores(where, name, value)
  local refuse = refuser(where, name)
  local scores = numbers_of(value, "float32", refuse)
  if #scores == 0 then refuse("1 score or more expected, got 0") end
  for n, score in ipairs(scores) do
    if type(score) ~= "number" or score - score ~= 0 then
      refuse("score %d is %s, expected a finite number", n, check.describe(score))
    end
  end
  return scores
end

local function classes(where, name, value)
  local refuse = refuser(where, name)
  local list = numbers_of(value, "int32", refuse)
  for n, class in ipairs(list) do
    if math.type(class) ~= "integer" or class < 1 then
      refuse("entry %d is %s, expected a class from 1", n, check.describe(class))
    end
  end
  return list
end

--- Answers (`predictions` and `scores`) and the labels they should have given.
-- @treturn {number,...} scores
-- @treturn {boolean,...} whether each answer is wrong
function input.answers(where, answers, labels)
  if type(answers) ~= "table" or answers.predictions == nil or answers.scores == nil then
    local got = check.describe(answers)
    error(("%s: argument 'answers': table with predictions and scores expected, got %s"):format(where, got), 0)
  end
  local scores = input.scores(where, "answers.scores", answers.scores)
  local predictions = classes(where, "answers.predictions", answers.predictions)
  labels = classes(where, "labels", labels)
  if #predictions ~= #scores or #labels ~= #scores then
    error(("%s: %d scores, %d predictions and %d labels, expected as many of each"):format(where, #scores, #predictions,
      #labels), 0)
  end
  local wrong = {}
  for n, label in ipairs(labels) do
    wrong[n] = predictions[n] ~= label
  end
  return scores, wrong
end

return input
