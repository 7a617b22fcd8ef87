--- What HTML (masktune.html) and SVG (masktune.draw.svg) have in common: text and pictures inside markup.
-- @module masktune.markup
local base64 = require "masktune.base64"
local core = require "masktune.core"

local markup = {}

local JPEG_QUALITY = 85

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

--- Text as it stands in markup, also within quotes. Bytes that are no UTF-8 become question marks.
-- @param text its tostring
-- @treturn string
function markup.escape(text)
  text = tostring(text)
  if not utf8.len(text) then text = text:gsub("[\128-\255]", "?") end
  return (text:gsub("[&<>\"']", entities))
end

--- A picture as the source of an image: a JPEG file inside the markup (PNG with `lossless`).
-- @tparam Tensor image {H,W,C}, uint8 or float32 in [0,1]
-- @tparam[opt] boolean lossless
-- @treturn string
function markup.source(image, lossless)
  local path = os.tmpname()
  local ok, problem = pcall(function()
    if lossless then
      core.image.write_png(path, image)
    else
      core.image.write_jpeg(path, image, { quality = JPEG_QUALITY })
    end
    return core.read_file(path)
  end)
  os.remove(path)
  if not ok then error(problem, 0) end
  return ("data:image/%s;base64,%s"):format(lossless and "png" or "jpeg", base64.encode(problem))
end

return markup
