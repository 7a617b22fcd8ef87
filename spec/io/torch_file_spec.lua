-- Files of torch.save: PyTorch's own (spec/golden/torch, by spec/golden/generate_torch_files.py), and some made by
-- hand, byte by byte.
local mt = require "masktune"
local contents = require "support.contents"
local process = require "support.process"
local torchfile = require "support.torchfile"

local load_string = contents.reader(mt.load, "x.pth")
local text, int, tuple, global, dict = torchfile.text, torchfile.int, torchfile.tuple, torchfile.global, torchfile.dict
local pickled, storage, tensor_of = torchfile.pickled, torchfile.storage, torchfile.tensor_of
local pickles, zip, floats = torchfile.pickles, torchfile.zip, torchfile.floats

local one = tensor_of(storage("FloatStorage", "0", 1), 0, { 1 }, { 1 })
local float = ("<f"):pack(0.5)
local one_pickle = pickled(dict(text "w", one))
local entry, archive_data = { "a/data.pkl", one_pickle }, { "a/data/0", float }

-- ---- what PyTorch wrote ----

local folder = "spec/golden/torch/"

local function same_tensors(expected, got)
  for name, tensor in pairs(expected) do
    assert.is_truthy(got[name], name)
    assert.equal(tensor:dtype(), got[name]:dtype(), name)
    assert.same(tensor:shape(), got[name]:shape(), name)
    assert.equal(tensor:bytes(), got[name]:bytes(), name)
  end
  for name in pairs(got) do assert.is_truthy(expected[name], name) end
end

--- The two parts of expected.safetensors.
local function expected_in(where)
  local state, checkpoint = {}, {}
  for name, tensor in pairs(mt.load(where .. "expected.safetensors")) do
    local inner = name:match("^checkpoint/(.*)")
    if inner then checkpoint["module." .. inner] = tensor else state[name] = tensor end
  end
  return state, checkpoint
end

local function check_folder(where)
  local state, checkpoint = expected_in(where)
  for _, file in ipairs { "state_zip.pth", "state_pickles.th", "state_protocol4.pth" } do
    same_tensors(state, mt.load(where .. file))
    assert.same({}, mt.load_metadata(where .. file))
  end
  for _, file in ipairs { "checkpoint_zip.pth", "checkpoint_pickles.th" } do
    same_tensors(checkpoint, mt.load(where .. file))
    assert.same({ epoch = "12", arch = "tiny", best = "0.75", done = "true" }, mt.load_metadata(where .. file))
  end
end

describe("load reads what torch.save wrote:", function()
  it("every dtype, strides, shared storages, in both formats; a checkpoint with module. names", function()
    check_folder(folder)
  end)

  it("the same from the PyTorch that is installed #nosan", function()
    local python = process.quoted(os.getenv("MASKTUNE_PYTHON") or "python3")
    if not process.run(python .. " -c 'import torch, numpy, safetensors'") then
      return pending("no python with torch, numpy and safetensors (MASKTUNE_PYTHON names one)")
    end
    process.with_folder(function(fresh)
      local script = "%s -B spec/golden/generate_torch_files.py %s"
      local ok, output = process.run(script:format(python, process.quoted(fresh)))
      assert(ok, output)
      check_folder(fresh .. "/")
    end)
  end)

  it("files that are cut anywhere are refused, not read", function()
    for _, file in ipairs { "checkpoint_zip.pth", "checkpoint_pickles.th" } do
      local handle = assert(io.open(folder .. file, "rb"))
      local content = handle:read("a")
      handle:close()
      for size = 0, #content - 1, 7 do
        local ok, message = pcall(load_string, content:sub(1, size))
        assert.is_false(ok, file .. " cut to " .. size)
        assert.truthy(message:find("^load: 'x.pth'"), message)
      end
    end
  end)

  it("a changed byte in a zip's values is noticed", function()
    local handle = assert(io.open(folder .. "state_zip.pth", "rb"))
    local content = handle:read("a")
    handle:close()
    local at = assert(content:find(floats(-1, -0.875, -0.75), 1, true))
    assert.has_error(function()
      load_string(content:sub(1, at - 1) .. "\1" .. content:sub(at + 1))
    end, "load: 'x.pth': storage '0' is damaged (wrong checksum)")
  end)
end)

describe("load reads by hand-made", function()
  it("pickles of the older format, with views of storages", function()
    local view = tuple(text "v", int(1), int(2))
    local held = storage("FloatStorage", "k", 4, view)
    local object = dict(text "w", tensor_of(held, 0, { 2 }, { 1 }))
    local got = load_string(pickles(object, { { "k", 4, floats(1, 2, 3, 4) } }))
    assert.same({ 2, 3 }, got.w:totable())
  end)

  it("archives whose entries have no checksum, and zip64 fields", function()
    assert.same({ 0.5 }, load_string(zip { entry, archive_data }).w:totable())
    local wide = { size = 0xFFFFFFFF, extra = ("<I2I2I8I8"):pack(1, 16, 4, 4) }
    assert.same({ 0.5 }, load_string(zip { entry, { "a/data/0", float, wide } }).w:totable())
  end)

  it("overlapping strides and axes of length 1 and 0", function()
    local held = storage("FloatStorage", "0", 4)
    local data = { { "0", 4, floats(1, 2, 3, 4) } }
    local function read(shape, strides, first)
      return load_string(pickles(dict(text "w", tensor_of(held, first or 0, shape, strides)), data)).w:totable()
    end
    assert.same({ { 1, 2 }, { 2, 3 }, { 3, 4 } }, read({ 3, 2 }, { 1, 1 }))
    assert.same({ { 3 }, { 4 } }, read({ 2, 1 }, { 1, 1000 }, 2))
    assert.same({}, read({ 0 }, { 7 }, 4))
  end)

  it("old strings, lists of pairs, long integers, memo and frames", function()
    local pairs_list = "](" .. "](U\1aK\1e" .. "](U\1bG" .. (">d"):pack(0.1) .. "e" .. "e"
    local object = global("collections", "OrderedDict") .. pairs_list .. "\x85R" .. "}b"
      .. "(" .. text "w" .. one .. text "big" .. "\x8a\1\xff" .. text "huge" .. "\x8a\x0a" .. ("\1"):rep(10)
      .. text "twice" .. text "x" .. "q\0" .. text "again" .. "h\0" .. "u"
    local metadata = contents.reader(mt.load_metadata, "x.pth")(pickles(object, { { "0", 1, float } }))
    assert.same({ a = "1", b = "0.1", big = "-1", twice = "x", again = "x" }, metadata)
  end)

  it("an empty state dict", function()
    assert.same({}, load_string(pickles("}")))
  end)
end)

--- What is refused -> the message after "load: 'x.pth': "; in the older format unless it starts with a zip's bytes.
local pk = "pickle, byte %d: "
local object_at = #pickles("", {}) - #pickled("](e") - 1 -- of an object's first opcode

local function at(offset) return pk:format(object_at + offset) end

local function tensor_file(held, ...)
  return pickles(dict(text "w", tensor_of(held, ...)), { { "0", 4, floats(1, 2, 3, 4) } })
end

local four = storage("FloatStorage", "0", 4)
local nothing = "it holds no named tensors: it is "
local refused = {
  { "a storage called", pickles(global("torch", "FloatStorage") .. ")R"), nothing .. "an object" },
  { "another reference", pickles("K\1Q"),
    "a reference is none to a storage: ('storage', type, key, location, items)" },
  { "a call of a number", pickles("K\1)R"),
    at(3) .. "a call of an integer with a tuple, expected a global and a tuple" },
  { "text opcodes", pickles "I1\n", at(0) .. "opcode 0x49 is not supported" },
  { "a buffer that is elsewhere", pickles "\x97", at(0) .. "opcode 0x97 is not supported" },
  { "protocol 9", pickles "\x80\9N", at(0) .. "protocol 9, expected 2 to 5" },
  { "an empty stack", pickles "", at(0) .. "it ends with 0 values on the stack, expected 1" },
  { "a full stack", pickles "NN", at(2) .. "it ends with 2 values on the stack, expected 1" },
  { "a mark as the result", pickles "(", at(1) .. "a value is missing on the stack" },
  { "a pop too many", pickles "0", at(0) .. "a value is missing on the stack" },
  { "no mark", pickles "Nt", at(1) .. "a mark is missing on the stack" },
  { "a key without a value", pickles "}(Nu", at(3) .. "a dict's last key has no value" },
  { "a dict of three", pickles "(NNNd", at(4) .. "a dict's last key has no value" },
  { "items for a tuple", pickles ")(Ne", at(3) .. "items for a tuple, expected a list" },
  { "a tuple over a mark", pickles "(N\x86", at(2) .. "a value is missing on the stack" },
  { "an unset memo", pickles "h\5", at(0) .. "memo 5 was never set" },
  { "a memo far away", pickles "Nr\255\255\255\127", at(1) .. "memo 2147483647, expected at most 1" },
  { "attributes without an object", pickles "}b", at(1) .. "a value is missing on the stack" },
  { "an object of Python 2 without a class", pickles "(o", at(1) .. "a value is missing on the stack" },
  { "a call of a list", pickles "])R", at(2) .. "a call of a list with a tuple, expected a global and a tuple" },
  { "a call with a list", pickles(global("net", "Model") .. "]R"),
    at(12) .. "a call of a class with a list, expected a global and a tuple" },
  { "a string longer than the file", pickles "X\255\255\255\127", at(0) .. "it is truncated" },
  { "a string of 2^63 bytes", pickles("\x8d" .. ("<I8"):pack(1 << 63)),
    at(0) .. "a string of 9223372036854775808 bytes" },
  { "a line without an end", pickles("", {}):sub(1, object_at) .. "cos", at(0) .. "it is truncated" },
  { "a stack too deep", pickles(("N"):rep(1100000)), at(1 << 20) .. "more than 1048576 values on the stack" },
  { "too many containers", pickles((")0"):rep(2200000) .. "N"),
    at(2 * ((1 << 21) - 1)) .. "more than 2097152 tuples, lists and dicts" },
  { "a number", pickles "K\1", nothing .. "an integer" },
  { "a list", pickles "]", nothing .. "a list" },
  { "a tensor alone", pickles(one, { { "0", 1, float } }), "it holds a tensor without a name" },
  { "a dict without tensors", pickles(dict(text "a", "K\1")),
    nothing .. "a dict with 'a'" },
  { "a list that holds itself", pickles "]q\0h\0a", nothing .. "a list" },
  { "a name that is a tuple", pickles(dict(")", one), { { "0", 1, float } }),
    "none of its tensors can be read here: 'a tensor' (its name is no string without zero bytes)" },
  { "a name with a zero byte", pickles(dict(text "a\0b", one), { { "0", 1, float } }),
    "none of its tensors can be read here: 'a tensor' (its name is no string without zero bytes)" },
  { "a name twice", pickles(dict(text "w", one, text "w", one), { { "0", 1, float } }), "tensor 'w' is there twice" },
  { "a shape beyond the storage", tensor_file(four, 0, { 5 }, { 1 }),
    "a tensor of shape {5} from item 0 on reaches beyond its storage of 4 items" },
  { "strides beyond the storage", tensor_file(four, 1, { 2, 2 }, { 2, 1 }),
    "a tensor of shape {2,2} from item 1 on reaches beyond its storage of 4 items" },
  { "a shape that overflows", tensor_file(four, 0, { 2147483647, 2147483647 }, { 2147483647, 2147483647 }),
    "a tensor's shape {2147483647,2147483647} has too many elements" },
  { "strides that overflow", tensor_file(four, 0, { 3, 1, 2147483647 }, { 2147483647, 2147483647, 2147483647 }),
    "a tensor of shape {3,1,2147483647} from item 0 on reaches beyond its storage of 4 items" },
  { "a negative first item", tensor_file(four, -1, { 1 }, { 1 }), "a tensor begins at item -1 of its storage" },
  { "a negative size", tensor_file(four, 0, { -1 }, { 1 }),
    "a tensor's shape holds a negative integer, expected integers >= 0" },
  { "a negative stride", tensor_file(four, 3, { 4 }, { -1 }),
    "a tensor's strides holds a negative integer, expected integers >= 0" },
  { "fewer strides", tensor_file(four, 0, { 2, 2 }, { 1 }), "a tensor has 2 axes and 1 strides" },
  { "seven axes", tensor_file(four, 0, { 1, 1, 1, 1, 1, 1, 1 }, { 1, 1, 1, 1, 1, 1, 1 }),
    "none of its tensors can be read here: 'w' (more axes than we have)" },
  { "a small storage expanded to gigabytes", tensor_file(four, 0, { 1000000000 }, { 0 }),
    "its tensors take more than 8 times the file's %d bytes" },
  { "a tensor of a tensor", pickles(dict(text "w", tensor_of(one, 0, { 1 }, { 1 })), { { "0", 1, float } }),
    "a tensor is made of something else than (storage, first item, shape, strides)" },
  { "a storage of -1 items", tensor_file(storage("FloatStorage", "0", -1), 0, { 1 }, { 1 }),
    "a reference is none to a storage: ('storage', type, key, location, items)" },
  { "a view outside of its storage",
    tensor_file(storage("FloatStorage", "0", 4, tuple(text "v", int(3), int(2))), 0, { 1 }, { 1 }),
    "a storage's view is a tuple, expected (key, first, items) inside of it" },
  { "one storage with two types",
    pickles(dict(text "a", one, text "b", tensor_of(storage("IntStorage", "0", 1), 0, { 1 }, { 1 })),
      { { "0", 1, float } }),
    "storage '0' has two types or sizes" },
  { "an unknown storage", pickles(dict(text "w", one), { { "1", 1, float } }), "storage '1' belongs to no tensor" },
  { "a missing storage", pickles(dict(text "w", one), {}), "a tensor's storage is missing in the file" },
  { "a storage twice", pickles(dict(text "w", one), { { "0", 1, float }, { "0", 1, float } }),
    "storage '0' is there twice" },
  { "a storage of another size", pickles(dict(text "w", one), { { "0", 2, float .. float } }),
    "storage '0' has 2 items, expected 1" },
  { "a storage that ends early", pickles(dict(text "w", one), { { "0", 1, "\0\0" } }), "it is truncated" },
  { "big-endian values", pickles("}", {}, dict(text "little_endian", "\x89")),
    "its byte order is big-endian, expected little-endian" },
  { "any other pickle", pickled "K\1", nothing .. "an integer" },
  { "an int64 beyond int32",
    pickles(dict(text "w", tensor_of(storage("LongStorage", "0", 2), 0, { 2 }, { 1 })),
      { { "0", 2, ("<i8i8"):pack(1, 1 << 31) } }),
    "none of its tensors can be read here: 'w' (an integer that does not fit in int32)" },
  { "an archive of something else", zip { { "a/readme", "hello" } },
    "the zip archive holds no data.pkl: torch.save did not write it" },
  { "two pickles in an archive", zip { entry, { "b/data.pkl", one_pickle } },
    "the zip archive holds more than one data.pkl" },
  { "an archive without its storage", zip { entry }, "storage '0' is missing in the zip archive" },
  { "a storage of another size in an archive", zip { entry, { "a/data/0", "12345" } },
    "storage '0' has 5 bytes, expected 4" },
  { "a big-endian archive", zip { entry, archive_data, { "a/byteorder", "big" } },
    "its byte order is 'big', expected 'little'" },
  { "a compressed entry", zip { entry, { "a/data/0", float, { method = 8 } } },
    "zip archive: 'a/data/0' is compressed, expected a stored entry" },
  { "an encrypted entry", zip { entry, { "a/data/0", float, { flags = 1 } } },
    "zip archive: 'a/data/0' is encrypted, expected a stored entry" },
  { "a wrong checksum", zip { entry, { "a/data/0", float, { crc = 1 } } }, "storage '0' is damaged (wrong checksum)" },
  { "a pickle with a wrong checksum", zip { { "a/data.pkl", one_pickle, { crc = 1 } }, archive_data },
    "data.pkl is damaged (wrong checksum)" },
  { "an entry beyond the end", zip { entry, { "a/data/0", float, { header = 1 << 20 } } },
    "zip archive: 'a/data/0' lies outside of the file" },
  { "an entry without its header", zip { entry, { "a/data/0", float, { header = 1 } } },
    "zip archive: 'a/data/0' is damaged or truncated" },
  { "an entry twice", zip { entry, archive_data, archive_data }, "zip archive: 'a/data/0' is there twice" },
  { "a zip64 field that is missing", zip { entry, { "a/data/0", float, { size = 0xFFFFFFFF } } },
    "zip archive: an entry's zip64 field is too short" },
  { "an archive of NumPy's", zip { { "weight.npy", "x" } },
    "it holds NumPy's arrays (.npz): write them as safetensors to load them here" },
  { "a TorchScript archive", zip { entry, { "a/constants.pkl", "x" }, archive_data },
    "it is a TorchScript program (torch.jit.save): save the module's state_dict() with torch.save" },
}

describe("load refuses", function()
  for _, case in ipairs(refused) do
    it(case[1], function()
      local ok, message = pcall(load_string, case[2])
      assert.is_false(ok)
      assert.equal("load: 'x.pth': " .. case[3]:format(#case[2]), message)
    end)
  end
end)

describe("weights of another number of classes", function()
  it("load with strict = false, but for the head", function()
    local old, new = mt.models.resnet20 { classes = 3 }, mt.models.resnet20 { classes = 5 }
    local state = old:state_dict()
    assert.has_error(function() new:load_state_dict(state) end)
    local head = new.linear.weight:clone()
    local report = new:load_state_dict(state, { strict = false })
    assert.same({}, report.missing)
    assert.same({}, report.unexpected)
    table.sort(report.mismatched)
    assert.same({
      "linear.bias is float32 {3}, expected float32 {5}", "linear.weight is float32 {3,64}, expected float32 {5,64}",
    }, report.mismatched)
    assert.equal(head:bytes(), new.linear.weight:bytes())
    assert.equal(old.layer3[1].conv1.weight:bytes(), new.layer3[1].conv1.weight:bytes())
  end)
end)
