--- Writes tar archives.
local tarfile = {}

--- The header of an entry; kind: "0" a file, "5" a folder.
local function header_of(name, size, kind)
  local header = name .. ("\0"):rep(100 - #name) .. "0000644\0" .. ("0000000\0"):rep(2) .. ("%011o\0"):format(size)
    .. "00000000000\0" .. (" "):rep(8) .. kind .. ("\0"):rep(100) .. "ustar\00000"
  header = header .. ("\0"):rep(512 - #header)
  local sum = 0
  for position = 1, 512 do
    sum = sum + header:byte(position)
  end
  return header:sub(1, 148) .. ("%06o\0 "):format(sum) .. header:sub(157)
end

--- An archive: a folder, then files, a list of {name, content}.
function tarfile.archive(folder, files)
  local parts = { header_of(folder, 0, "5") }
  for _, file in ipairs(files) do
    parts[#parts + 1] = header_of(file[1], #file[2], "0") .. file[2] .. ("\0"):rep(-#file[2] % 512)
  end
  return table.concat(parts) .. ("\0"):rep(1024)
end

return tarfile
