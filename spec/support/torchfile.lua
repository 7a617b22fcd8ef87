--- Files of torch.save made by hand, opcode by opcode and byte by byte.
local function text(s) return "X" .. ("<s4"):pack(s) end

local function int(i) return "J" .. ("<i4"):pack(i) end

local function tuple(...) return "(" .. table.concat({ ... }) .. "t" end

local function global(module, name) return "c" .. module .. "\n" .. name .. "\n" end

local function dict(...) return "}(" .. table.concat({ ... }) .. "u" end

local function pickled(body) return "\x80\2" .. body .. "." end

local function storage(kind, key, count, ...)
  return tuple(text "storage", global("torch", kind), text(key), text "cpu", int(count), ...) .. "Q"
end

local function tensor_of(held, first, shape, strides)
  local function ints(list)
    local items = {}
    for i, v in ipairs(list) do items[i] = int(v) end
    return tuple(table.unpack(items))
  end
  local hooks = global("collections", "OrderedDict") .. ")R"
  local arguments = tuple(held, int(first), ints(shape), ints(strides), "\x89", hooks)
  return global("torch._utils", "_rebuild_tensor_v2") .. arguments .. "R"
end

--- A file of the older format: the object's opcodes, and {key, items, bytes} for each storage.
local function pickles(object, storages, machine)
  local keys, data = {}, {}
  for i, s in ipairs(storages or {}) do
    keys[i], data[i] = text(s[1]), ("<i8"):pack(s[2]) .. s[3]
  end
  return table.concat {
    pickled "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", pickled(int(1001)),
    pickled(machine or dict(text "little_endian", "\x88")), pickled(object),
    pickled("](" .. table.concat(keys) .. "e"), table.concat(data),
  }
end

--- A zip archive of {name, content} entries; a third value overrides fields of the directory's record.
local function zip(entries)
  local parts, directory, at = {}, {}, 0
  for i, e in ipairs(entries) do
    local name, content, o = e[1], e[2], e[3] or {}
    local method, flags, crc, size = o.method or 0, o.flags or 0, o.crc or 0, o.size or #content
    local extra = o.extra or ""
    local common = ("<I2I2I2I4I4I4I4I2"):pack(20, flags, method, 0, crc, size, size, #name)
    parts[i] = "PK\3\4" .. common .. "\0\0" .. name .. content
    directory[i] = "PK\1\2\20\0" .. common .. ("<I2I2I2I2I4I4"):pack(#extra, 0, 0, 0, 0, o.header or at)
      .. name .. extra
    at = at + #parts[i]
  end
  local list = table.concat(directory)
  return table.concat(parts) .. list
    .. ("<I4I2I2I2I2I4I4I2"):pack(0x06054b50, 0, 0, #entries, #entries, #list, at, 0)
end

--- float32 values as bytes.
local function floats(...) return ("<" .. ("f"):rep(select("#", ...))):pack(...) end

return {
  text = text, int = int, tuple = tuple, global = global, dict = dict, pickled = pickled, storage = storage,
  tensor_of = tensor_of, pickles = pickles, zip = zip, floats = floats,
}
