local mt = require "masktune"
local contents = require "support.contents"
local process = require "support.process"

--- A file from its header's text and data.
local function file_of(header, data)
  return ("<s8"):pack(header) .. (data or "")
end

local load_string = contents.reader(mt.load, "weights.safetensors")
local metadata_of = contents.reader(mt.load_metadata, "weights.safetensors")

local function entry(dtype, shape, first, last)
  return ('{"dtype":"%s","shape":[%s],"data_offsets":[%d,%d]}'):format(dtype, table.concat(shape, ","), first, last)
end

--- The tensor of a file with one tensor "x".
local function load_one(dtype, shape, data)
  return load_string(file_of('{"x":' .. entry(dtype, shape, 0, #data) .. "}", data)).x
end

describe("save and load", function()
  local tensors = {
    ["backbone.0.weight"] = mt.randn(2, 3, 4),
    ["zähler \"1\"\\\n"] = mt.tensor({ -2147483648, 0, 2147483647 }, "int32"),
    bytes = mt.tensor({ { 0, 7 }, { 128, 255 }, { 1, 2 } }, "uint8"),
    odd = mt.tensor({ 1, 2, 3 }, "uint8"),
    scalar = mt.tensor(0.5),
    empty = mt.zeros(3, 0, 2),
    six = mt.rand(1, 2, 1, 3, 1, 2),
  }
  local metadata = { seed = "7", ["näme"] = "a\tb\"c\\ \u{1F600}" }

  it("give back the same tensors and metadata", function()
    process.with_folder(function(folder)
      local path = folder .. "/a"
      mt.save(path, tensors, metadata)
      local loaded = mt.load(path)
      assert.same(metadata, mt.load_metadata(path))
      assert.equal(1, select("#", mt.load(path)))
      local count = 0
      for name, tensor in pairs(loaded) do
        count = count + 1
        assert.equal(tensors[name]:dtype(), tensor:dtype())
        assert.same(tensors[name]:shape(), tensor:shape())
        assert.equal(tensors[name]:bytes(), tensor:bytes())
      end
      assert.equal(7, count)
    end)
  end)

  it("write the same bytes whatever the order of the table, data aligned to 8 and to each tensor's items", function()
    process.with_folder(function(folder)
      local path = folder .. "/a"
      mt.save(path, tensors, metadata)
      local first = mt.read_file(path)
      local reversed, names = {}, {}
      for name in pairs(tensors) do
        table.insert(names, 1, name)
      end
      for _, name in ipairs(names) do
        reversed[name] = tensors[name]
      end
      mt.save(path, reversed, metadata)
      assert.equal(first, mt.read_file(path))
      local header = ("<s8"):unpack(first)
      assert.equal(0, #header % 8)
      local seen = 0
      for dtype, start in header:gmatch('"dtype":"(%w+)".-"data_offsets":%[(%d+),') do
        seen = seen + 1
        assert.equal(0, math.tointeger(start) % (dtype == "U8" and 1 or 4))
      end
      assert.equal(7, seen)
    end)
  end)

  it("work without tensors and without metadata", function()
    process.with_folder(function(folder)
      mt.save(folder .. "/a", {})
      assert.same({}, mt.load(folder .. "/a"))
      assert.same({}, mt.load_metadata(folder .. "/a"))
    end)
  end)

  it("refuse what a file cannot hold, naming it, and leave the old file", function()
    contents.assert_refused(function(path, arguments) mt.save(path, table.unpack(arguments)) end, {
      ["'bias': tensor expected, got number"] = { { bias = 3 } },
      ["name of a tensor: string without zero bytes expected, got number"] = { { mt.zeros(1) } },
      ["name of a tensor: string without zero bytes expected, got one with a zero byte"] =
        { { ["a\0b"] = mt.zeros(1) } },
      ["'a\255' is not valid UTF-8"] = { { ["a\255"] = mt.zeros(1) } },
      ["cannot be named '__metadata__'"] = { { __metadata__ = mt.zeros(1) } },
      ["'seed': string without zero bytes expected, got number"] = { {}, { seed = 7 } },
      ["'seed': string without zero bytes expected, got one with a zero byte"] = { {}, { seed = "\0" } },
      ["key of the metadata: string without zero bytes expected, got number"] = { {}, { "x" } },
      ["table expected"] = { "x" },
      ["table of tensors expected, got a module: take its state_dict()"] = { mt.nn.Linear(2, 1) },
    })
    process.with_folder(function(folder)
      assert.error_matches(function() mt.save(folder .. "/missing/a", {}) end,
        "cannot write '[^']*/missing/a': No such file or directory")
    end)
  end)
end)

describe("load", function()
  it("reads the values of every dtype", function()
    assert.same({ 1.5, -2 }, load_one("F32", { 2 }, ("<ff"):pack(1.5, -2)):totable())
    assert.same({ 0, 200 }, load_one("U8", { 2 }, "\0\200"):totable())
    assert.same({ -5, 2147483647 }, load_one("I32", { 2 }, ("<i4i4"):pack(-5, 2147483647)):totable())
    assert.same({ 0.1 }, { tonumber(("%.1f"):format(load_one("F64", {}, ("<d"):pack(0.1)):item())) })
    assert.equal("float32", load_one("F64", {}, ("<d"):pack(0.1)):dtype())
    assert.same({ -2147483648, 7 }, load_one("I64", { 2 }, ("<i8i8"):pack(-2147483648, 7)):totable())
    assert.equal("int32", load_one("I64", { 1 }, ("<i8"):pack(1)):dtype())
    assert.same({ -128, 127 }, load_one("I8", { 2 }, ("bb"):pack(-128, 127)):totable())
    assert.equal("int32", load_one("I8", { 1 }, "\1"):dtype())
    assert.same({ 0, 1 }, load_one("BOOL", { 2 }, "\0\1"):totable())
    assert.equal("uint8", load_one("BOOL", { 1 }, "\1"):dtype())
    -- IEEE 754 half: 1, -2, the largest, the smallest normal and subnormal, -0, infinity.
    local halves = ("<I2I2I2I2I2I2I2"):pack(0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x8000, 0x7c00)
    local values = load_one("F16", { 7 }, halves):totable()
    assert.same({ 1, -2, 65504, 2.0 ^ -14, 2.0 ^ -24, 0, math.huge }, values)
    assert.equal(-math.huge, 1 / values[6])
    local nan = load_one("F16", { 1 }, ("<I2"):pack(0x7e00)):totable()[1]
    assert.is_true(nan ~= nan)
    local brains = ("<I2I2I2"):pack(0x3f80, 0xc049, 0x7f80)
    assert.same({ 1, -3.140625, math.huge }, load_one("BF16", { 3 }, brains):totable())
  end)

  it("converts tensors longer than its buffer", function()
    local parts = {}
    for i = 1, 70000 do
      parts[i] = ("<i8"):pack(i)
    end
    local tensor = load_one("I64", { 70000 }, table.concat(parts))
    assert.equal(70000, tensor:max():item())
    assert.same({ 1, 2 }, tensor:narrow(1, 1, 2):totable())
  end)

  it("reads headers with white space, escapes, unknown fields and fields in any order", function()
    local file = file_of([[{ "__metadata__" : { "k\u00e9y" : "\ud83d\ude00\/\n" } ,
      "\u0061" : { "extra" : [1, {"b" : [null, true, -1.5e+3, "x"]}] , "data_offsets":[0, 4],
      "shape" : [ ], "dtype":"F32" } }  ]], ("<f"):pack(2))
    assert.same({ ["kéy"] = "\u{1F600}/\n" }, metadata_of(file))
    assert.equal(2, load_string(file).a:item())
  end)

  it("reads metadata that is null, as the Python package does", function()
    local file = file_of('{"__metadata__":null,"a":' .. entry("F32", {}, 0, 4) .. "}", ("<f"):pack(2))
    assert.same({}, metadata_of(file))
    assert.equal(2, load_string(file).a:item())
  end)

  it("reads unsigned integers that fit in int32", function()
    assert.same({ 0, 65535 }, load_one("U16", { 2 }, ("<I2I2"):pack(0, 65535)):totable())
    assert.same({ 2147483647 }, load_one("U32", { 1 }, ("<I4"):pack(2147483647)):totable())
    assert.same({ 2147483647 }, load_one("U64", { 1 }, ("<I8"):pack(2147483647)):totable())
  end)

  it("leaves out what it has no room for, says so, and reads the others", function()
    local file = file_of('{"c":' .. entry("C64", { 1 }, 0, 8) .. ',"a":' .. entry("F32", {}, 8, 12) .. ',"i":'
      .. entry("I64", { 1 }, 12, 20) .. ',"u":' .. entry("U32", { 1 }, 20, 24) .. ',"d":'
      .. entry("U8", { 1, 1, 1, 1, 1, 1, 1 }, 24, 25) .. ',"z":' .. entry("U8", { 1 }, 25, 26) .. "}",
      ("\0"):rep(8) .. ("<fi8I4"):pack(2, 1 << 31, 1 << 31) .. "ab")
    local lines = {}
    local function log(line) lines[#lines + 1] = line:match "^load: '.*': (.*)" end
    local state = load_string(file, { log = log })
    assert.equal(2, state.a:item())
    assert.same({ 98 }, state.z:totable())
    assert.same({ "left out 4 tensors that cannot be read here: 'c' (C64), "
      .. "'i' (an integer that does not fit in int32), 'u' (an integer that does not fit in int32), "
      .. "'d' (more axes than we have)" }, lines)
    state.a, state.z = nil, nil
    assert.same({}, state)
  end)

  it("refuses every kind of damage, saying what it is", function()
    local f32 = ("<f"):pack(1)
    local deep = ("["):rep(100000)
    for message, content in pairs{
      ["'weights.safetensors' is empty"] = "",
      ["'weights.safetensors': zip archive: it has no directory"] = "PK\3\4 some zip archive",
      ["header's length is 16777216, expected at most 2 %(the file is truncated"] = ("<I8"):pack(1 << 24) .. "{}",
      ["header's length is 18446744073709551615"] = ("<i8"):pack(-1) .. "{}",
      ["JSON text at byte 1: string expected, but the text ends"] = file_of"{",
      ["JSON text at byte 1: string expected$"] = file_of"{1:2}",
      ["byte 4: ':' expected"] = file_of'{"x"}',
      ["end of the text expected"] = file_of"{}x",
      ["'\"' expected, but the text ends"] = file_of'{"x',
      ["valid UTF%-8 expected"] = file_of'{"\xc0\x80":1}',
      ["no control character"] = file_of'{"a\nb":1}',
      ["character other than zero"] = file_of[[{"a\u0000b":1}]],
      ["escape expected"] = file_of[[{"\q":1}]],
      ["hexadecimal digit expected"] = file_of[[{"\u12g4":1}]],
      ["second half of a surrogate pair"] = file_of[[{"\ud800x":1}]],
      ["first half of a surrogate pair"] = file_of[[{"\udc00":1}]],
      ["less nesting expected"] = file_of('{"x":{"y":' .. deep .. "}}"),
      ["object expected"] = file_of'{"x":[]}',
      ["tensor 'x': dtype is missing"] = file_of'{"x":{}}',
      ["tensor 'x': shape is missing"] = file_of'{"x":{"dtype":"F32","data_offsets":[0,0]}}',
      ["tensor 'x': data_offsets is missing"] = file_of'{"x":{"dtype":"F32","shape":[0]}}',
      ["tensor 'x': dtype is given twice"] = file_of'{"x":{"dtype":"F32","dtype":"F32"}}',
      ["none of its tensors can be read here: 'x' %(C64%)"] =
        file_of('{"x":' .. entry("C64", {}, 0, 8) .. "}", ("x"):rep(8)),
      ["tensor 'x': its data_offsets are in disorder"] = file_of('{"x":' .. entry("C64", {}, 8, 0) .. "}"),
      ["tensor 'x': 1 data_offsets, expected two"] = file_of'{"x":{"data_offsets":[0]}}',
      ["tensor 'x': more than two data_offsets"] = file_of'{"x":{"data_offsets":[0,1,2]}}',
      ["none of its tensors can be read here: 'x' %(more axes than we have%)"] =
        file_of('{"x":' .. entry("U8", { 1, 1, 1, 1, 1, 1, 1 }, 0, 1) .. "}", "a"),
      ["whole number >= 0 expected"] = file_of'{"x":{"shape":[-1]}}',
      ["whole number >= 0 expected$"] = file_of'{"x":{"shape":[1.5]}}',
      ["number below 2%^63 expected"] = file_of'{"x":{"shape":[99999999999999999999]}}',
      ["',' or '%]' expected"] = file_of'{"x":{"shape":[1 2]}}',
      ["shape {4294967296,4294967296} has too many elements"] =
        file_of('{"x":' .. entry("U8", { 1 << 32, 1 << 32 }, 0, 0) .. "}"),
      ["data_offsets %[0,4%], expected 8 bytes for F32 of shape {2}"] =
        file_of('{"x":' .. entry("F32", { 2 }, 0, 4) .. "}", f32),
      ["data_offsets %[4,0%], expected 4 bytes"] = file_of('{"x":' .. entry("F32", {}, 4, 0) .. "}", f32),
      ["holds 3 bytes of data, expected 4 %(it is truncated%)"] =
        file_of('{"x":' .. entry("F32", {}, 0, 4) .. "}", "abc"),
      ["holds 5 bytes of data, expected 4 %(trailing bytes%)"] =
        file_of('{"x":' .. entry("F32", {}, 0, 4) .. "}", "abcde"),
      ["holds 4 bytes of data, expected 0"] = file_of("{}", "abcd"),
      ["tensor 'x': its data starts at byte 1, expected 0 %(a hole%)"] =
        file_of('{"x":' .. entry("U8", { 1 }, 1, 2) .. "}", "ab"),
      ["tensor 'y': its data starts at byte 1, expected 2 %(an overlap%)"] =
        file_of('{"x":' .. entry("U8", { 2 }, 0, 2) .. ',"y":' .. entry("U8", { 2 }, 1, 3) .. "}", "abc"),
      ["tensor 'y': its data starts at byte 3, expected 2 %(a hole%)"] =
        file_of('{"y":' .. entry("U8", { 1 }, 3, 4) .. ',"x":' .. entry("U8", { 2 }, 0, 2) .. "}", "abcd"),
      ["tensor 'x': the name is given twice"] =
        file_of('{"x":' .. entry("U8", { 1 }, 0, 1) .. ',"x":' .. entry("U8", { 1 }, 1, 2) .. "}", "ab"),
      ["none of its tensors can be read here: 'x' %(an integer that does not fit in int32%)"] =
        file_of('{"x":' .. entry("I64", { 2 }, 0, 16) .. "}", ("<i8i8"):pack(1, 1 << 31)),
      ["string expected"] = file_of'{"__metadata__":{"a":1}}',
    } do
      assert.error_matches(function()
        load_string(content)
      end, message)
    end
  end)

  it("refuses a file cut short at any byte", function()
    local whole = file_of('{"x":' .. entry("F32", { 2 }, 0, 8) .. ',"y":' .. entry("I64", { 1 }, 8, 16) .. "}",
      ("<ffi8"):pack(1, 2, 3))
    assert.equal(3, load_string(whole).y:item())
    for length = 0, #whole - 1 do
      assert.error(function()
        load_string(whole:sub(1, length))
      end, nil, "length " .. length)
    end
  end)

  it("asks for no memory that the file's size does not justify", function()
    mt.empty_cache()
    local before = mt.memory().peak
    assert.error(function()
      load_one("F32", { 1 << 30 }, "abcd")
    end)
    assert.error(function()
      load_string(("<I8"):pack(90 << 20) .. "{}")
    end)
    assert.is_true(mt.memory().peak < before + (1 << 20))
  end)

  it("names the file it cannot open", function()
    assert.error_matches(function()
      mt.load("/nowhere/w.safetensors")
    end, "load: cannot open '/nowhere/w.safetensors': No such file or directory")
    assert.error_matches(function()
      mt.load("/tmp")
    end, "'/tmp'")
  end)
end)
