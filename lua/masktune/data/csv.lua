--- Columns of CSV files (RFC 4180), and of the blank-separated text files that data sets come with. Whatever is wrong
-- is named with the file and the number of its line.
-- @module masktune.data.csv
local check = require "masktune.check"
local core = require "masktune.core"

local csv = {}

local function fail(path, line, message, ...)
  error(("'%s', line %d: "):format(path, line) .. message:format(...), 0)
end

--- The cells of a line; a quoted cell may go on in the next lines, of which `more` gives one after the other.
local function cells_of(path, number, line, more)
  local cells, at = {}, 1
  while true do
    if line:sub(at, at) == '"' then
      local text, from = {}, at + 1
      while true do
        local quote = line:find('"', from, true)
        if not quote then
          local following = more()
          if not following then fail(path, number, "a quoted cell has no end") end
          line = line .. "\n" .. following
        elseif line:sub(quote + 1, quote + 1) == '"' then
          text[#text + 1] = line:sub(from, quote)
          from = quote + 2
        else
          text[#text + 1] = line:sub(from, quote - 1)
          at = quote + 1
          break
        end
      end
      cells[#cells + 1] = table.concat(text)
      if at > #line then return cells end
      if line:sub(at, at) ~= "," then fail(path, number, "'%s' follows a quoted cell", line:sub(at, at)) end
      at = at + 1
    else
      local comma = line:find(",", at, true)
      cells[#cells + 1] = line:sub(at, (comma or #line + 1) - 1)
      if not comma then return cells end
      at = comma + 1
    end
  end
end

--- An iterator over the lines of a text: number, line (without its end).
local function lines_of(text)
  local at, number = 1, 0
  return function()
    if at > #text then return nil end
    number = number + 1
    local stop = text:find("\n", at, true) or #text + 1
    local last = stop - 1
    if text:byte(last) == 13 then last = last - 1 end
    local line = text:sub(at, last)
    at = stop + 1
    return number, line
  end
end

--- A Lua pattern that captures some of a line's `count` cells (wanted: place -> anything), in their order.
local function pattern_of(count, wanted, cell, separator)
  local parts = {}
  for place = 1, count do
    parts[place] = wanted[place] and "(" .. cell .. ")" or cell
  end
  return table.concat(parts, separator)
end

local function names_text(header)
  local texts = {}
  for i, name in ipairs(header) do
    texts[i] = "'" .. name .. "'"
  end
  return table.concat(texts, ", ")
end

--- Name -> its column; refuses names that the header lacks or has twice.
local function places_of(path, header, names)
  local places, seen = {}, {}
  for column, name in ipairs(header) do
    if seen[name] then fail(path, 1, "column '%s' is there twice", name) end
    seen[name] = column
  end
  for _, name in ipairs(names) do
    places[name] = seen[name] or fail(path, 1, "no column '%s'; there are %s", name, names_text(header))
  end
  return places
end

--- Reads some columns of a CSV file with a header line.
-- @string path
-- @tparam {string,...} names the columns
-- @treturn table name -> list of cells (strings)
-- @treturn {integer,...} the line each row begins in
-- @treturn {string,...} all names of the header
-- @raise where the file, a column or a row is not as it should be, with the line's number
function csv.read(path, names)
  check.argument("mt.data.csv", "path", path, { type = "string" })
  local text = core.read_file(path)
  local more = lines_of(text:gsub("^\xEF\xBB\xBF", ""))
  local _, first = more()
  if not first or first == "" then fail(path, 1, "no header line") end
  local header = cells_of(path, 1, first, function() return select(2, more()) end)
  local places = places_of(path, header, names)
  local wanted, order, columns, lines = {}, {}, {}, {}
  for name, place in pairs(places) do
    wanted[place], columns[name] = name, {}
  end
  for place = 1, #header do
    order[#order + 1] = wanted[place]
  end
  local pattern, row = "^" .. pattern_of(#header, wanted, "[^,]*", ",") .. "$", 0
  for number, line in more do
    if line ~= "" then
      row = row + 1
      lines[row] = number
      local found = line:find('"', 1, true) and {} or table.pack(line:match(pattern))
      if found[1] then
        for i, name in ipairs(order) do
          columns[name][row] = found[i]
        end
      else
        local cells = cells_of(path, number, line, function() return select(2, more()) end)
        if #cells ~= #header then
          fail(path, number, "%d cells, expected %d as in the header (is the file whole?)", #cells, #header)
        end
        for name, place in pairs(places) do
          columns[name][row] = cells[place]
        end
      end
    end
  end
  return columns, lines, header
end

local function count_words(line)
  local count = 0
  for _ in line:gmatch("%S+") do
    count = count + 1
  end
  return count
end

--- Reads a file of blank-separated columns, of which the first is a file's name and the others may have names.
-- @string path
-- @tparam ?integer header the number of the line with the names of the columns behind the first; the data follow it
-- (nil: no names, and the data begin in line 1)
-- @tparam {integer|string,...} wanted columns, by number or name
-- @treturn {table,...} for each of them the list of its cells
-- @treturn {integer,...} the line of each row
function csv.read_blanks(path, header, wanted)
  local columns, lines, names, pattern, count, rank = {}, {}, {}, nil, nil, {}
  for number, line in lines_of(core.read_file(path)) do
    if number == header then
      for name in line:gmatch("%S+") do
        names[#names + 1] = name
      end
    elseif number > (header or 0) and line:find("%S") then
      if not pattern then
        count = count_words(line)
        local places, order = {}, {}
        for i, name in ipairs(wanted) do
          local place = type(name) == "string" and 1 + places_of(path, names, { name })[name] or name
          places[place], columns[i] = i, {}
        end
        for place in pairs(places) do
          order[#order + 1] = place
        end
        table.sort(order)
        for i, place in ipairs(order) do
          rank[i] = places[place]
        end
        pattern = "^%s*" .. pattern_of(count, places, "%S+", "%s+") .. "%s*$"
      end
      local found, row = table.pack(line:match(pattern)), #lines + 1
      if not found[1] then
        fail(path, number, "%d columns, expected %d as in the lines before (is the file whole?)", count_words(line),
          count)
      end
      lines[row] = number
      for i, cell in ipairs(found) do
        columns[rank[i]][row] = cell
      end
    end
  end
  return columns, lines
end

return csv
