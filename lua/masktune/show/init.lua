--- Pictures in a session: in the terminal where it can show them, else in a PNG file whose path is printed.
-- @usage mt.show(image)            mt.show(images)          mt.show(image, heat)
-- @module masktune.show
local blocks = require "masktune.show.blocks"
local check = require "masktune.check"
local core = require "masktune.core"
local kitty = require "masktune.show.kitty"
local sixel = require "masktune.show.sixel"

local DEFAULT_COLUMNS = 80
local MOST_IMAGES = 64

local show = {}

local ways = { blocks = blocks, kitty = kitty, sixel = sixel }

--- What the environment says of the terminal: kitty's protocol, sixels, 24-bit colours, or nothing of these.
local function terminal_way()
  local term, program = os.getenv "TERM" or "", os.getenv "TERM_PROGRAM" or ""
  if os.getenv "KITTY_WINDOW_ID" or term == "xterm-kitty" or term == "xterm-ghostty" or program == "WezTerm" then
    return "kitty"
  end
  if term:find "sixel" or term == "mlterm" or term:find "^foot" or term == "yaft-256color" then return "sixel" end
  local colors = os.getenv "COLORTERM"
  if colors == "truecolor" or colors == "24bit" then return "blocks" end
end

local schema = {
  way = { choices = { "auto", "blocks", "kitty", "sixel", "file" }, default = "auto" },
  path = { type = "string", optional = true },
  scale = { type = "integer", min = 1, max = 64, default = 1 },
  columns = { type = "integer", min = 1, max = 1000, optional = true },
  print = { type = "boolean", default = true },
}

--- The picture of what is given: uint8 {H,W,3}.
local function picture_of(images, heat, o)
  local axes = images:dim()
  if axes == 2 then images = images:reshape(images:size(1), images:size(2), 1) end
  if axes < 4 then images = images:reshape(1, table.unpack(images:shape())) end
  if images:size(4) == 4 then images = images:narrow(4, 1, 3) end
  local count = math.min(images:size(1), MOST_IMAGES)
  images = images:narrow(1, 1, count)
  if heat then
    if heat:dim() == 2 then heat = heat:reshape(1, table.unpack(heat:shape())) end
    images = core.image.overlay(images, heat:narrow(1, 1, count))
  end
  return core.image.grid(images, { padding = count > 1 and 2 or 0, scale = o.scale })
end

local function check_image(images)
  if not core.is_tensor(images) then
    check.fail("mt.show: argument 'images': tensor expected, got %s", check.describe(images))
  end
  local axes = images:dim()
  local channels = axes == 2 and 1 or axes >= 3 and images:size(axes)
  if axes < 2 or axes > 4 or channels ~= 1 and channels ~= 3 and channels ~= 4 then
    local first = axes >= 3 and images:size(axes - 2)
    check.fail("mt.show: argument 'images': {H,W}, {H,W,C} or {N,H,W,C} with 1, 3 or 4 channels expected, got {%s}%s",
      table.concat(images:shape(), ","),
      (first == 3 or first == 1) and "; channels come last here: image:permute(2, 3, 1)" or "")
  end
end

local function png_of(picture, path)
  local file = path or os.tmpname() .. ".png"
  core.image.write_png(file, picture)
  return file
end

--- Shows pictures.
-- @function show
-- @tparam Tensor images {H,W}, {H,W,C} or {N,H,W,C} (the first 64, side by side); uint8, or float32 in [0,1]
-- @tparam[opt] Tensor heat float32 {h,w} or {N,h,w}: heatmaps, laid over the images
-- @tparam[opt] table options `way` ("auto": as the terminal can, from TERM, COLORTERM and the like; "blocks":
-- characters of 24-bit colours, "kitty", "sixel"; "file"), `path` of the file (one for temporary files), `scale` (1),
-- `columns` (the terminal's, or 80), `print` (true; false: only the text is returned)
-- @treturn ?string the path of the file, where there is one; the text with `print = false`
function show.run(images, heat, options)
  if type(heat) == "table" and options == nil then
    heat, options = nil, heat
  end
  check_image(images)
  local o = check.options("mt.show", options, schema)
  local picture = picture_of(images, heat, o)
  local way = o.way == "auto" and (core.is_terminal() and terminal_way() or "file") or o.way
  if way == "file" then
    local path = png_of(picture, o.path)
    if o.print then print(path) end
    return path
  end
  local png
  if way == "kitty" then
    local path = png_of(picture)
    png = core.read_file(path)
    os.remove(path)
  end
  local text = ways[way](picture, { columns = o.columns or core.terminal_width() or DEFAULT_COLUMNS, png = png })
  if not o.print then return text end
  io.stdout:write(text)
end

return setmetatable(show, { __call = function(_, ...) return show.run(...) end })
