--- Writes MATLAB files of version 5, whole and with every field as wrong as a spec wants it.
local matfile = {}

local function element(kind, data) return ("<I4I4"):pack(kind, #data) .. data .. ("\0"):rep(-#data % 8) end

--- An array of bytes.
-- @tparam table fields `name`, `sizes` (the first index is the fastest), `values` (a string); `class` (9, uint8) and
-- `kind` (2, uint8) as the format numbers them, `extra` behind the values
function matfile.array(fields)
  return element(14, element(6, ("<I4I4"):pack(fields.class or 9, 0))
    .. element(5, ("<i4"):rep(#fields.sizes):pack(table.unpack(fields.sizes))) .. element(1, fields.name)
    .. element(fields.kind or 2, fields.values) .. (fields.extra or ""))
end

--- A file of arrays.
function matfile.file(...)
  return ("MATLAB 5.0 MAT-file"):rep(7):sub(1, 116) .. ("\0"):rep(8) .. "\0\1IM" .. table.concat { ... }
end

return matfile
