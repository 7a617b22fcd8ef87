local csv = require "masktune.data.csv"
local mt = require "masktune"
local process = require "support.process"

--- Calls f with the path of a file that holds the text.
local function with_text(text, f)
  process.with_folder(function(folder)
    mt.write_file(folder .. "/a.csv", text)
    f(folder .. "/a.csv")
  end)
end

local function message_of(text, names)
  local found
  with_text(text, function(path)
    local ok, message = pcall(csv.read, path, names)
    assert.is_false(ok)
    found = message:gsub("^'[^']*a.csv'", "FILE")
  end)
  return found
end

describe("masktune.data.csv", function()
  it("reads columns by name, with quotes, commas, newlines and other line ends", function()
    with_text('\xEF\xBB\xBFid,"a ""name""",y,z\r\n1,"x, y",3,\r\n\n2,"two\nlines",4,"q"\n3,plain,5,6', function(path)
      local columns, lines, header = csv.read(path, { "y", 'a "name"', "z" })
      assert.same({ "3", "4", "5" }, columns.y)
      assert.same({ "x, y", "two\nlines", "plain" }, columns['a "name"'])
      assert.same({ "", "q", "6" }, columns.z)
      assert.same({ 2, 4, 6 }, lines)
      assert.same({ "id", 'a "name"', "y", "z" }, header)
    end)
  end)

  it("names the line of what is wrong", function()
    assert.equal("FILE, line 1: no header line", message_of("", { "y" }))
    assert.equal("FILE, line 1: no column 'y'; there are 'a', 'b'", message_of("a,b\n1,2\n", { "y" }))
    assert.equal("FILE, line 1: column 'a' is there twice", message_of("a,a\n1,2\n", { "a" }))
    assert.equal("FILE, line 3: 1 cells, expected 2 as in the header (is the file whole?)",
      message_of("a,b\n1,2\n3", { "a" }))
    assert.equal("FILE, line 2: 3 cells, expected 2 as in the header (is the file whole?)",
      message_of("a,b\n1,2,3\n", { "a" }))
    assert.equal("FILE, line 2: a quoted cell has no end", message_of('a,b\n"1,2\n', { "a" }))
    assert.equal("FILE, line 2: 'x' follows a quoted cell", message_of('a,b\n"1"x,2\n', { "a" }))
  end)

  it("reads blank-separated columns by number or name", function()
    with_text("3\nBald Male \n1.jpg -1  1\n2.jpg  1 -1\n", function(path)
      local columns, lines = csv.read_blanks(path, 2, { "Male", 1, "Bald" })
      assert.same({ { "1", "-1" }, { "1.jpg", "2.jpg" }, { "-1", "1" } }, columns)
      assert.same({ 3, 4 }, lines)
      assert.error_matches(function() csv.read_blanks(path, 2, { "Blond" }) end, "no column 'Blond'; there are 'Bald'")
    end)
    with_text("1.jpg 0\n2.jpg\n", function(path)
      assert.error_matches(function() csv.read_blanks(path, nil, { 1, 2 }) end, "line 2: 1 columns, expected 2")
    end)
  end)
end)
