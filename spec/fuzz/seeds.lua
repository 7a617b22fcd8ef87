-- Writes a few valid files for each fuzz target: lua5.4 spec/fuzz/seeds.lua FOLDER (run in the checkout's root).
local mt = require "masktune"
local samples = require "image.png_samples"

local root = assert(arg[1], "usage: seeds.lua FOLDER")
local golden = mt.load "spec/golden/images.safetensors"
local pictures = mt.load "spec/golden/pictures.safetensors"

local function write(target, name, content)
  mt.make_directory(root .. "/" .. target)
  mt.write_file(("%s/%s/%s"):format(root, target, (name:gsub("[^%w]+", "_"))), content)
end

local function from_hex(hex)
  return (hex:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end))
end

for _, sample in ipairs(samples) do
  write("png", sample.name, from_hex(sample.file))
end

for name, value in pairs(golden) do
  local kind, sample = name:match("^(%a+)_?%w*/(.*)$")
  if name:find("^jpeg.*/file$") then write("jpeg", sample, value:bytes()) end
  if kind == "mat" then write("matfile", sample, value:bytes()) end
end

for name, value in pairs(pictures) do
  local target, sample = name:match("^(%a+)/(.*)/file$")
  if target == "bmp" or target == "pnm" or target == "png" or target == "jpeg" then
    write(target, sample, value:bytes())
    if target ~= "bmp" then write(target, sample .. " cut", value:bytes():sub(1, -30)) end
  end
end

write("gunzip", "text", mt.gzip(("a few words, and some more of them. "):rep(20)))
write("gunzip", "two members", mt.gzip "one" .. mt.gzip "two")
write("gunzip", "empty", mt.gzip "")
write("gunzip", "zeros", mt.gzip(("\0"):rep(100000)))

for i, text in ipairs {
  "{}", "[]", '{"a":[1,2,{"b":null}],"c":"\\u00e9\\ud83d\\ude00\\n","d":-1.5e3}', '[[[[true,false]]],"\\\\\\"",0]',
  ("["):rep(40) .. ("]"):rep(40), ' { "x" : 9223372036854775807 } ',
} do
  write("json", tostring(i), text)
end

local path = os.tmpname()
local function saved(tensors, metadata)
  mt.save(path, tensors, metadata)
  return mt.read_file(path)
end
write("safetensors", "all", saved({
  a = mt.rand(2, 3), ["layer.weight"] = mt.zeros({ 4 }, "uint8"), n = mt.ones({ 2, 1, 2 }, "int32"), e = mt.zeros(0, 3),
}, { epoch = "3", name = "é" }))
write("safetensors", "none", saved({}))
for _, kind in ipairs { "F16", "BF16", "F64", "I64", "I8", "BOOL" } do
  local sizes = { F16 = 2, BF16 = 2, F64 = 8, I64 = 8, I8 = 1, BOOL = 1 }
  local header = ('{"t":{"dtype":"%s","shape":[3],"data_offsets":[0,%d]}}'):format(kind, 3 * sizes[kind])
  write("safetensors", kind, ("<s8"):pack(header) .. ("\1"):rep(3 * sizes[kind]))
end
os.remove(path)

for _, name in ipairs(mt.list_directory "spec/golden/torch") do
  if not name:find("%.safetensors$") then
    write("torch", name, mt.read_file("spec/golden/torch/" .. name))
  end
end
