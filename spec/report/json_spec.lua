local json = require "masktune.json"

describe("json.encode", function()
  it("sorts keys, so that equal values give equal text", function()
    assert.equal('{"a": 1, "b": [true, null], "c": "x"}', json.encode { c = "x", b = { true, json.null }, a = 1 })
  end)

  it("writes numbers with the fewest digits that read back as the same number", function()
    assert.equal("0.1", json.encode(0.1))
    assert.equal("0.30000000000000004", json.encode(0.1 + 0.2))
    assert.equal("2.0", json.encode(2.0))
    assert.equal("2", json.encode(2))
    assert.equal("1e+300", json.encode(1e300))
    for _, number in ipairs { math.pi, 1 / 3, 5e-324, 2 ^ 53 + 2, -1.7976931348623157e308 } do
      assert.equal(number, tonumber(json.encode(number)))
    end
  end)

  it("writes null for what JSON has no number for", function()
    assert.equal("[null, null, null]", json.encode { 0 / 0, math.huge, -math.huge })
  end)

  it("tells empty arrays from empty objects", function()
    assert.equal("{}", json.encode {})
    assert.equal("[]", json.encode(json.array()))
  end)

  it("escapes quotes, backslashes and control characters", function()
    assert.equal([["\" \\ \n \u0001 é"]], json.encode('" \\ \n \1 é'))
  end)

  it("indents nested values and keeps plain arrays on one line", function()
    assert.equal('{\n  "a": [1, 2],\n  "b": [\n    {\n      "c": 1\n    }\n  ],\n  "d": {}\n}',
      json.encode({ a = { 1, 2 }, b = { { c = 1 } }, d = {} }, 2))
  end)

  it("refuses what has no JSON form", function()
    local loop = {}
    loop[1] = loop
    assert.error_matches(function() json.encode(loop) end, "nested deeper than 200")
    assert.error_matches(function() json.encode { 1, nil, 3 } end, "key %d of an object: string expected")
    assert.error_matches(function() json.encode { print } end, "a function has no JSON form")
    assert.error_matches(function() json.encode "\xff" end, "string is not UTF%-8")
  end)
end)

describe("json.decode", function()
  it("reads every kind of value", function()
    assert.same({ a = { 1, -2.5, "x", true, false }, b = { c = {} } },
      json.decode ' {"a": [1, -2.5, "x", true, false],\r\n\t"b": {"c": {}}} ')
    assert.equal(json.null, json.decode "null")
  end)

  it("keeps integers and floats apart", function()
    assert.equal("integer", math.type(json.decode "12"))
    assert.equal("float", math.type(json.decode "12.0"))
    assert.equal("float", math.type(json.decode "1e2"))
    assert.equal("-inf", tostring(1 / json.decode "-0.0"))
  end)

  it("reads every escape, and surrogate pairs", function()
    assert.equal('"\\/\b\f\n\r\té😀', json.decode [["\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"]])
  end)

  it("gives back what encode wrote, to the bit", function()
    local value = {
      list = { 0.1, 1e-7, 3, -1 / 3 }, empty = json.array(), text = "ü\0\127\n", deep = { { { false } } },
    }
    local text = json.encode(value)
    assert.same(value, json.decode(text))
    assert.equal(text, json.encode(json.decode(text)))
  end)

  local refused = {
    { "", "end of text" }, { "[1,]", "column 4: a value expected, got ']'" }, { "{,}", "a key in quotes expected" },
    { '{"a":1,}', "a key in quotes expected, got '}'" }, { "01", "not a number" }, { "+1", "a value expected" },
    { "1.", "not a number" }, { ".5", "a value expected" }, { "1e", "not a number" },
    { "0x10", "text after the value" },
    { "NaN", "a value expected" }, { "nul", "a value expected" }, { "'a'", "a value expected" },
    { '"a', "string without an end" }, { '"\n"', "control character" }, { '"\\x"', "unknown escape" },
    { '"\\u12"', "four hexadecimal digits" }, { '"\\ud800"', "high surrogate without a low one" },
    { '"\\udc00"', "low surrogate without a high one" }, { "[1 2]", "',' or ']' expected, got '2'" },
    { '{"a" 1}', "':' expected" }, { '{"a":1,"a":2}', "key 'a' stands here twice" },
    { "1 2", "text after the value" },
    { "\xff", "not UTF-8" }, { ("["):rep(201) .. ("]"):rep(201), "nested deeper than 200" },
    { "[1,\n 2,\n  x]", "line 3, column 3" },
    { "/* */ 1", "a value expected" },
  }
  for _, case in ipairs(refused) do
    it("refuses " .. ("%q"):format(case[1]:sub(1, 12)) .. " with the place and the reason", function()
      local ok, message = pcall(json.decode, case[1])
      assert.is_false(ok)
      assert.truthy(message:find(case[2], 1, true), message)
    end)
  end

  it("reads nesting up to 200", function()
    assert.is_table(json.decode(("["):rep(200) .. ("]"):rep(200)))
  end)
end)
