-- What stands beside the weights in a file of torch.save: which part is taken, and what is passed over. Files of
-- PyTorch's own (spec/golden/torch, by spec/golden/generate_torch_files.py), and some made by hand.
local mt = require "masktune"
local contents = require "support.contents"
local process = require "support.process"
local torchfile = require "support.torchfile"

local text, tuple, global, dict = torchfile.text, torchfile.tuple, torchfile.global, torchfile.dict
local storage, tensor_of, pickles, floats = torchfile.storage, torchfile.tensor_of, torchfile.pickles, torchfile.floats

local folder = "spec/golden/torch/"
local weight, bias = { { -0.5, -0.25, 0 }, { 0.25, 0.5, 0.75 } }, { 1.5, -2.25 }
local weight_plus_1, bias_plus_1 = { { 0.5, 0.75, 1 }, { 1.25, 1.5, 1.75 } }, { 2.5, -1.25 }

local function values_of(state)
  local values = {}
  for name, tensor in pairs(state) do
    values[name] = tensor:totable()
  end
  return values
end

--- What a file gives: its values, and what was said of it, without the file's name.
local function read(path, options)
  local said = {}
  local all = { log = function(line) said[#said + 1] = line:gsub("^load: '.*%.[pt]%a+': ", "") end }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  return values_of(mt.load(path, all)), said
end

local kinds = {
  beside = {
    values = { weight = weight, bias = bias },
    said = "took 'state_dict' (2 tensors); also there: '' (the top level, 2 tensors), 'module' (3 tensors) "
      .. "(option 'key' chooses)",
  },
  loose = {
    values = { weight = weight, bias = bias },
    said = "took 'model' (2 tensors); also there: '' (the top level, 2 tensors) (option 'key' chooses)",
  },
  averages = {
    values = { weight = weight, bias = bias },
    said = "took 'state_dict' (2 tensors); also there: 'state_dict_ema' (2 tensors) (option 'key' chooses)",
  },
  unknown = {
    values = { weight = weight, bias = bias, extra = { 1 } },
    said = "took 'netG' (3 tensors); also there: 'netD' (2 tensors) (option 'key' chooses)",
  },
  deep = { values = { weight = weight, bias = bias } },
  pair = { values = { weight = weight, bias = bias } },
  counted = { values = { ["module.weight"] = weight, ["module.bias"] = bias, n_averaged = 0 } },
  wrapped = { shapes = { ["module._orig_mod.weight"] = "2,3", ["module._orig_mod.bias"] = "2" } },
  unreadable = {
    values = { weight = weight, bias = bias, half = { 0.5, -2 }, brain = { 0.25, 3 }, unsigned = { 1, 65535 } },
    said = "left out 7 tensors that cannot be read here: 'complex' (complex64), 'quantised' (quantised), 'sparse' "
      .. "(sparse), 'eight_bits' (torch.float8_e4m3fn), 'seven_axes' (more axes than we have), 'conjugated' "
      .. "(negated or conjugated lazily), 'large' (an integer that does not fit in int32)",
  },
}

local inner = { weight = { 0.25 }, running_mean = { 1 }, num_batches_tracked = 5 }
local module_values = {
  factor = 0.5, ["stem.weight"] = { 0.25, 0.5 }, ["stem.running_mean"] = { 1, 2 }, ["stem.num_batches_tracked"] = 5,
}
for name, value in pairs(inner) do
  module_values["stem.inner." .. name], module_values["same." .. name] = value, value
end
kinds.whole = { values = module_values }
kinds.whole_wrapped = { values = module_values }

local function check_kind(where, name, expected)
  for _, ending in ipairs { "_zip.pth", "_pickles.th" } do
    local values, said = read(where .. name .. ending)
    if expected.values then assert.same(expected.values, values, name .. ending) end
    assert.same({ expected.said }, said, name .. ending)
    for tensor, shape in pairs(expected.shapes or {}) do
      assert.equal(shape, table.concat(mt.load(where .. name .. ending)[tensor]:shape(), ","))
    end
  end
end

local function check_shared(where)
  for _, ending in ipairs { "_zip.pth", "_pickles.th" } do
    local state = mt.load(where .. "shared" .. ending)
    local tied = mt.arange(1024)
    for i = 0, 19 do
      assert.equal(tied:bytes(), state["layers." .. i .. ".weight"]:bytes())
    end
    for i = 0, 2 do
      assert.equal(tied:narrow(1, i + 1, 512):bytes(), state["window." .. i]:bytes())
    end
    assert.equal(tied:reshape(32, 32):permute(2, 1):bytes(), state.transposed:bytes())
    assert.equal(state.transposed:bytes(), state.transposed_again:bytes())
    assert.equal(mt.full({ 1000 }, 0.5):bytes(), state.expanded:bytes())
    state["layers.3.weight"]:fill(7)
    assert.equal(7, state["layers.12.weight"]:max():item())
    assert.equal(1023, state.transposed:max():item())
  end
end

local function check_arrays(where)
  for _, protocol in ipairs { 2, 4, 5 } do
    local path = ("%sarrays_protocol%d.pkl"):format(where, protocol)
    local values, said = read(path)
    assert.same({
      weight = weight, double = mt.tensor { 0.25, -1e30 }:totable(), fortran = { { 0, 1, 2 }, { 3, 4, 5 } },
      bytes = { 0, 255 }, half = { { 0.5 }, { -2 } }, scalar = 2.5, flags = { 1, 0 },
    }, values)
    assert.same({ "left out 2 tensors that cannot be read here: 'swapped' (big-endian), 'large' (an integer that does "
      .. "not fit in int32)" }, said)
    assert.same({ __author__ = "nobody", rate = "0.5" }, mt.load_metadata(path))
  end
end

local function check_dumped(where)
  local values, said = read(where .. "dumped.pkl")
  assert.same({ weight = weight, bias = bias, half = { 1, 1 } }, values)
  assert.same({ "left out 1 tensor that cannot be read here: 'complex' (of a storage that is not read here)" }, said)
end

describe("load takes the state dict out of what PyTorch wrote:", function()
  for name, expected in pairs(kinds) do
    it(name, function() check_kind(folder, name, expected) end)
  end

  it("tied weights and views, which share memory as in PyTorch", function() check_shared(folder) end)

  it("plain pickles of NumPy's arrays", function() check_arrays(folder) end)

  it("plain pickles of tensors", function() check_dumped(folder) end)

  it("the same from the PyTorch that is installed #nosan", function()
    local python = process.quoted(os.getenv("MASKTUNE_PYTHON") or "python3")
    if not process.run(python .. " -c 'import torch, numpy, safetensors'") then
      return pending("no python with torch, numpy and safetensors (MASKTUNE_PYTHON names one)")
    end
    process.with_folder(function(fresh)
      local script = "%s -B spec/golden/generate_torch_files.py %s"
      local ok, output = process.run(script:format(python, process.quoted(fresh)))
      assert(ok, output)
      for name, expected in pairs(kinds) do
        check_kind(fresh .. "/", name, expected)
      end
      check_shared(fresh .. "/")
      check_arrays(fresh .. "/")
      check_dumped(fresh .. "/")
    end)
  end)
end)

describe("load_metadata", function()
  it("has the plain values under their paths, whatever else there is", function()
    for _, file in ipairs { "beside_zip.pth", "beside_pickles.th" } do
      local got = mt.load_metadata(folder .. file)
      for name in pairs(got) do
        if name:find "^scheduler%._" then got[name] = nil end -- PyTorch's own affairs
      end
      assert.same({
        epoch = "3", ["args.arch"] = "tiny", ["args.lr"] = "0.1", array_of_bytes = "c", byte = "200",
        ["config.lr"] = "0.5", ["config.name"] = "tiny", count = "-7", ["counter.a"] = "2", ["counter.b"] = "1",
        flag = "true", half = "-0.5", number = "0.25", ["options.depth"] = "4", ["ordered.one"] = "1",
        ["scheduler.T_max"] = "10", ["scheduler.eta_min"] = "0", ["scheduler.last_epoch"] = "0", single = "1.5",
        ["slots.width"] = "3",
      }, got)
      process.with_folder(function(fresh) mt.save(fresh .. "/a", mt.load(folder .. file, { log = false }), got) end)
    end
  end)

  it("is there without tensors", function()
    assert.same({}, mt.load_metadata(folder .. "optimizer_zip.pth"))
  end)
end)

describe("load says", function()
  it("by itself where notices go, to a function, or nothing", function()
    local script = "%s -e 'require([[masktune]]).load([[%sloose_zip.pth]], %s)'"
    local line = ("load: '%sloose_zip.pth': %s"):format(folder, kinds.loose.said)
    local function output_of(options, redirect)
      local ok, output = process.run(script:format(process.lua, folder, options) .. redirect)
      assert(ok, output)
      return output
    end
    assert.equal("masktune: " .. line .. "\n", output_of("nil", ""))
    assert.equal("", output_of("nil", " 2>/dev/null"))
    assert.equal("", output_of("{ log = false }", ""))
    assert.equal(line, output_of("{ log = io.write }", " 2>/dev/null"))
    local lines = {}
    local before = mt.notice.to(function(said) lines[#lines + 1] = said end)
    mt.load(folder .. "loose_zip.pth")
    mt.notice.to(before)
    assert.same({ line }, lines)
    local alone = "package.loaded[ [[masktune.notice]] ], package.path = nil, [[]] "
    local script_alone = ("%s -e 'local load = require([[masktune.core]]).load; %s load([[%sloose_zip.pth]])'")
      :format(process.lua, alone, folder)
    assert.equal(line .. "\n", select(2, process.run(script_alone)))
  end)

  it("what is wrong with its options", function()
    local path = folder .. "loose_zip.pth"
    assert.error_matches(function() mt.load(path, { log = true }) end,
      "option 'log': function or false expected, got true")
    assert.error_matches(function() mt.load(path, { key = 1 }) end, "option 'key': string expected, got 1")
    assert.error_matches(function() mt.load(path, { best_prec1 = 1 }) end, "unknown option 'best_prec1'")
    assert.error_matches(function() mt.load(path, { log = function() error "heard" end }) end, "heard")
  end)

  it("what a file is that has no weights", function()
    for file, message in pairs {
      ["optimizer_zip.pth"] = "it holds the state of an optimiser, not of a model",
      ["optimizer_pickles.th"] = "it holds the state of an optimiser, not of a model",
      ["script.pt"] = "it is a TorchScript program (torch.jit.save): save the module's state_dict() with torch.save",
    } do
      assert.has_error(function() mt.load(folder .. file) end, ("load: '%s': %s"):format(folder .. file, message))
    end
  end)
end)

describe("option key", function()
  local choices = { [0] = { weight = weight, bias = bias }, { weight = weight_plus_1, bias = bias_plus_1 } }

  it("chooses by a path of names", function()
    for file, keys in pairs {
      averages = { ["state_dict_ema"] = 1, ["ema.module"] = 1, ["state_dict"] = 0 },
      unknown = { netD = 1 },
      deep = { ["checkpoint.best.state_dict"] = 0 },
      pair = { ["1"] = 0 },
    } do
      for key, plus in pairs(keys) do
        for _, ending in ipairs { "_zip.pth", "_pickles.th" } do
          local values, said = read(folder .. file .. ending, { key = key })
          assert.same(choices[plus], values, file .. " " .. key)
          assert.same({}, said)
        end
      end
    end
    assert.same({ mean = { 1, 1, 1 }, step = 7 }, (read(folder .. "loose_zip.pth", { key = "" })))
    assert.same(inner, (read(folder .. "whole_zip.pth", { key = "stem.inner" })))
    assert.same(inner, (read(folder .. "whole_wrapped_zip.pth", { key = "model.module.stem.inner" })))
  end)

  it("lists what there is when nothing is there under it", function()
    local path = folder .. "averages_zip.pth"
    local there = "'state_dict_ema' (2 tensors), 'state_dict' (2 tensors)"
    for key, problem in pairs {
      model = "there is no 'model'", ["state_dict.weights"] = "there is no 'state_dict.weights'",
      ema = "no tensors under 'ema'", ["state_dict.weight"] = "no tensors under 'state_dict.weight'",
    } do
      assert.has_error(function() mt.load(path, { key = key }) end,
        ("load: '%s': option 'key': %s, expected one of: %s"):format(path, problem, there))
    end
    local safetensors = folder .. "expected.safetensors"
    assert.has_error(function() mt.load(safetensors, { key = "model" }) end,
      ("load: '%s': option 'key' is 'model', but a safetensors file has no parts to choose"):format(safetensors))
    assert.truthy(mt.load(safetensors, { key = "" }).float32)
  end)
end)

-- ---- by hand ----

local data = { { "0", 2, floats(0.5, 0.25) } }
local two = tensor_of(storage("FloatStorage", "0", 2), 0, { 2 }, { 1 })
local load_string = contents.reader(mt.load, "x.pth")

local function from_parts(...) return load_string(pickles(dict(...), data), { log = false }) end

describe("load passes over", function()
  local call = "(" .. text "true" .. "tR"
  for name, object in pairs {
    ["a call of the system"] = global("os", "system") .. call,
    ["a global by its parts"] = text "posix" .. text "system" .. "\x93" .. call,
    ["a class of the user's"] = global("net", "Model") .. ")\x81",
    ["one that is given names too"] = global("net", "Model") .. ")}\x92",
    ["one with attributes"] = global("net", "Model") .. ")\x81" .. dict(text "a", "K\1") .. "b",
    ["one with attributes in slots"] = global("net", "Model") .. ")\x81N" .. dict(text "a", "K\1") .. "\x86b",
    ["one with attributes of its own making"] = global("net", "Model") .. ")\x81K\5b",
    ["one that acts as a dict"] = global("net", "Options") .. ")\x81(" .. text "a" .. "K\1u" .. text "b" .. "K\2s",
    ["one that acts as a list"] = global("net", "Names") .. ")\x81(K\1K\2e" .. "K\3a",
    ["one that acts as a set"] = global("net", "Names") .. ")\x81(K\1\x90",
    ["an object of Python 2"] = "(" .. global("net", "Old") .. "K\1o}b",
    ["an object by name"] = "(K\1inet\nOld\n}b",
    ["a call of what a call gave"] = global("operator", "methodcaller") .. call .. call,
    ["a number of a registry"] = "\x82\1)R\x83\1\1)R\x86\x84\1\1\1\1)R\x86",
    ["python's own functions"] = global("builtins", "eval") .. call,
    ["a set"] = "\x8f(K\1K\2\x90",
    ["a frozen set"] = "(K\1K\2\x91",
    ["sets of protocol 2"] = global("__builtin__", "set") .. "](K\1e\x85R" .. global("__builtin__", "frozenset")
      .. ")R\x86",
    ["bytes that can be written to"] = "\x96" .. ("<I8"):pack(3) .. "abc",
    ["bytes as text"] = global("_codecs", "encode") .. "(" .. text "a\u{ff}" .. text "latin1" .. "tR",
    ["what is no such text"] = global("_codecs", "encode") .. "(" .. text "\u{20ac}" .. text "latin1" .. "tR",
    ["a storage that is none"] = global("torch.storage", "_load_from_bytes") .. "(C\3abct" .. "R",
    ["an array without values"] = global("numpy.core.multiarray", "_reconstruct") .. ")R",
    ["an array of something else"] = global("numpy.core.multiarray", "_reconstruct") .. ")R(K\1K\2K\3K\4K\5tb",
    ["a type without a name"] = global("numpy", "dtype") .. ")R",
    ["a number without a type"] = global("numpy.core.multiarray", "scalar") .. "NN\x86R",
    ["a dict that holds itself"] = "}q\0(" .. text "me" .. "h\0" .. text "list" .. "](h\0eu",
    ["a class alone"] = global("net", "Model"),
    ["a dict of odd keys"] = "}(" .. ")K\1" .. "NK\2" .. text "\0" .. "K\3u",
  } do
    it(name, function()
      for _, protocol in ipairs { "\x80\2", "\x80\5" } do
        local file = pickles(dict(text "state_dict", dict(text "w", two), text "x", object), data)
        file = file:gsub("\x80\2", protocol)
        assert.same({ 0.5, 0.25 }, load_string(file).w:totable())
        contents.reader(mt.load_metadata, "x.pth")(file)
      end
    end)
  end
end)

describe("load chooses among hand-made parts:", function()
  it("known names before loose tensors, the least deep, then by their order, averages last", function()
    local function taken(...)
      local lines = {}
      local function log(line) lines[#lines + 1] = line:match "took '([^']*)'" end
      load_string(pickles(dict(...), data), { log = log })
      return lines[1]
    end
    local w, three = dict(text "w", two), dict(text "w", two, text "v", two, text "u", two)
    assert.equal("net", taken(text "net", w, text "v", two, text "u", two))
    assert.equal("model", taken(text "net", w, text "model", w))
    assert.equal("net", taken(text "net", w, text "a", dict(text "state_dict", w)))
    assert.equal("net", taken(text "state_dict_ema", w, text "net", w))
    assert.equal("ema", taken(text "ema", w, text "other", three))
    assert.equal("other", taken(text "w", two, text "other", three))
    assert.equal("", taken(text "w", two, text "other", w))
    assert.equal("a", taken(text "a", w, text "b", w))
    assert.is_nil(taken(text "state_dict", w, text "optimizer", dict(text "state", dict("K\0", three),
      text "param_groups", "]")))
  end)

  it("names that are integers, and names with dots", function()
    assert.same({ 0.5, 0.25 }, from_parts("K\7", two)["7"]:totable())
    local dotted = dict(text "a.b", dict(text "c", dict(text "w", two)), text "a", dict(text "b", dict(text "d", two)))
    local file = pickles(dotted, data)
    assert.truthy(load_string(file, { key = "a.b.c" }).w)
    assert.has_error(function() load_string(file, { key = "a.b.d" }) end)
  end)

  it("and tells many of them in one line", function()
    local parts = {}
    for i = 1, 20 do
      parts[2 * i - 1], parts[2 * i] = text("part" .. i), dict(text "w", two)
    end
    local lines = {}
    load_string(pickles(dict(table.unpack(parts)), data), { log = function(line) lines[#lines + 1] = line end })
    assert.equal(1, #lines)
    assert.matches("'part7' (1 tensor) and 13 more (option 'key' chooses)", lines[1], 1, true)
  end)

  it("a module that holds itself, or too many of them, is refused", function()
    local function module(children)
      return global("net", "Model") .. ")\x81" .. dict(text "_parameters", "}", text "_buffers", "}",
        text "_modules", children) .. "b"
    end
    local itself = global("net", "Model") .. ")\x81q\1" .. dict(text "_parameters", "}", text "_modules",
      dict(text "a", "h\1")) .. "b"
    local many = module "}"
    for i = 1, 40 do -- 2^40 paths
      many = module("}(" .. text "a" .. many .. "q" .. string.char(i) .. text "b" .. "h" .. string.char(i) .. "u")
    end
    local message = "load: 'x.pth': a module has too many parts, or more than 64 levels of them"
    assert.has_error(function() load_string(pickles(itself, {})) end, message)
    assert.has_error(function() load_string(pickles(many, {})) end, message)
  end)
end)

describe("load bounds memory:", function()
  it("a thousand names of one storage take as much as one", function()
    local count = 1 << 18
    local parts, held = {}, storage("FloatStorage", "0", count)
    for i = 1, 1000 do
      parts[2 * i - 1], parts[2 * i] = text("w" .. i), tensor_of(held, 0, { count - i % 3 }, { 1 })
    end
    local file = pickles(dict(table.unpack(parts)), { { "0", count, ("\0\0\x80\x3f"):rep(count) } })
    mt.empty_cache()
    local before = mt.memory().live
    local state = load_string(file)
    assert.is_true(mt.memory().live - before < (1 << 20) + (1 << 16))
    assert.equal(1, state.w1:min():item())
    assert.equal(count - 2, state.w998:size(1))
  end)

  it("a thousand that are expanded are refused", function()
    local parts, held = {}, storage("FloatStorage", "0", 2)
    for i = 1, 1000 do
      parts[2 * i - 1], parts[2 * i] = text("w" .. i), tensor_of(held, 0, { 10000 + i }, { 0 })
    end
    local file = pickles(dict(table.unpack(parts)), data)
    assert.has_error(function() load_string(file) end,
      ("load: 'x.pth': its tensors take more than 8 times the file's %d bytes"):format(#file))
  end)

  it("objects beside the weights may be long", function()
    local long = "B" .. ("<s4"):pack(("x"):rep(5 << 20))
    local got = from_parts(text "big", long, text "state_dict", dict(text "w", two))
    assert.same({ 0.5, 0.25 }, got.w:totable())
  end)
end)

describe("load says what a file is that has no tensors at all:", function()
  for message, content in pairs {
    ["'x.pth' is empty"] = "",
    ["'x.pth': it is a pointer of git-lfs, not the file itself: 'git lfs pull' fetches that"] =
      "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n",
    ["'x.pth': it is a web page (a download that went wrong?)"] = "<!DOCTYPE html><html></html>",
    ["'x.pth': it is XML (a download that went wrong?)"] = "<?xml version='1.0'?><Error/>",
    ["'x.pth': it is an array of NumPy's (.npy): write it as safetensors to load it here"] = "\x93NUMPY\1\0v\0{",
    ["'x.pth': it is an HDF5 file (Keras?): write its arrays as safetensors to load them here"] =
      "\x89HDF\r\n\x1a\n" .. ("\0"):rep(20),
    ["'x.pth': it is compressed with gzip: uncompress it first"] = mt.gzip "x",
    ["'x.pth': it is JSON, perhaps an index that names the files with the weights"] = '{"weight_map":{}}',
    ["'x.pth': it is a tar archive"] = ("a"):rep(257) .. "ustar\0" .. ("\0"):rep(300),
    ["'x.pth' is neither a safetensors file nor one that torch.save wrote (it begins with 'Entry not found')"] =
      "Entry not found",
    ["'x.pth' is neither a safetensors file nor one that torch.save wrote"] = "\1\2\3",
  } do
    it(message, function()
      assert.has_error(function() load_string(content) end, "load: " .. message)
    end)
  end

  it("a pipe, which is not waited for", function()
    process.with_folder(function(fresh)
      assert(process.run("mkfifo " .. process.quoted(fresh .. "/pipe")))
      assert.has_error(function() mt.load(fresh .. "/pipe") end,
        ("load: '%s/pipe' is not a regular file"):format(fresh))
    end)
  end)

  it("an object of a class", function()
    assert.has_error(function() load_string(pickles(global("os", "system") .. tuple(text "true") .. "R")) end,
      "load: 'x.pth': it holds no named tensors: it is an object of os.system")
  end)
end)
