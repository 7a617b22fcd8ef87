--- A plain sans-serif font of pen strokes, for plots: letters at any size, without steps.
-- A glyph is its width and its strokes. A stroke is a list of points, two characters each: x, then y, in base 36 (0 to
-- 9, a = 10, ...). The baseline is at y = 4, small letters reach to e = 14, capitals and digits to i = 18, descenders
-- to 0. A stroke with ~ in front is the smooth curve (a quadratic B-spline) that its points control: it starts at the
-- first and ends at the last, or closes where these are equal; the others it does not quite reach.
-- @module masktune.canvas.font
local font = { EM = 20, BASELINE = 4, CAP_HEIGHT = 14 }

local GAP = 3.5 -- between two glyphs
local ROUNDS = 3 -- of corner cutting; each halves the corners of a smooth stroke

local bowl = "~04949e0e04"

local glyphs = {
  [" "] = { 3 },
  ["0"] = { 10, "~04a4ai0i04" }, ["1"] = { 10, "2f6i64" }, ["2"] = { 10, "~0e0iaiad04", "04a4" },
  ["3"] = { 10, "~0f0i9i9b4b", "~4baba40407" }, ["4"] = { 10, "848i08b8" },
  ["5"] = { 10, "9i1i0b", "~0b2dada40406" }, ["6"] = { 10, "~9h6i0i08", "~04a4ac0c04" },
  ["7"] = { 10, "0iai34" }, ["8"] = { 10, "~1b9b9i1i1b", "~04a4ab0b04" },
  ["9"] = { 10, "~0aaaai0i0a", "~aea44415" },

  A = { 12, "046ic4", "29a9" }, B = { 10, "040i", "~0i9i9b0b", "~0baba404" }, C = { 11, "~bfbi0i04b4b7" },
  D = { 11, "040i", "~0ibib404" }, E = { 9, "9i0i0494", "0b8b" }, F = { 9, "9i0i04", "0b8b" },
  G = { 11, "~bfbi0i04b4b9", "6bbbb5" }, H = { 11, "040i", "b4bi", "0bbb" }, I = { 1, "040i" },
  J = { 8, "~8i840408" }, K = { 11, "040i", "ai09", "3cb4" }, L = { 9, "0i0494" }, M = { 12, "040i67cic4" },
  N = { 11, "040ib4bi" }, O = { 12, "~04c4ci0i04" }, P = { 10, "040i", "~0iaiaa0a" },
  Q = { 12, "~04c4ci0i04", "88d3" }, R = { 10, "040i", "~0iaiaa0a", "5aa4" }, S = { 10, "~afai0i0baba40407" },
  T = { 12, "0ici", "6i64" }, U = { 11, "0i09", "~0904b4b9", "b9bi" }, V = { 12, "0i64ci" },
  W = { 16, "0i448ic4gi" }, X = { 11, "04bi", "0ib4" }, Y = { 12, "0i6bci", "6b64" }, Z = { 11, "0ibi04b4" },

  a = { 9, bowl, "9e94" }, b = { 9, "0i04", bowl }, c = { 9, "~9c9e0e049496" }, d = { 9, bowl, "9i94" },
  e = { 9, "0999", "~999e0e049496" }, f = { 7, "~7i3i34", "0e7e" }, g = { 9, bowl, "9e94", "~94900001" },
  h = { 9, "0i04", "~0a0e9e94" }, i = { 1, "0e04", "0h0i" }, j = { 3, "~3e3000", "3h3i" },
  k = { 9, "0i04", "9e08", "4b94" }, l = { 1, "0i04" }, m = { 14, "0e04", "~0a0e7e74", "~7a7eeee4" },
  n = { 9, "0e04", "~0a0e9e94" }, o = { 10, "~04a4ae0e04" }, p = { 9, "0e00", bowl }, q = { 9, bowl, "9e90" },
  r = { 6, "0e04", "~090e6e" }, s = { 8, "~8c8e0e0989840406" }, t = { 7, "~3i3474", "0e7e" },
  u = { 9, "~0e049499", "9e94" }, v = { 10, "0e54ae" }, w = { 14, "0e347eb4ee" }, x = { 9, "049e", "0e94" },
  y = { 10, "0e54", "ae20" }, z = { 9, "0e9e0494" },

  ["."] = { 1, "0414150504" }, [","] = { 1, "1502" }, [":"] = { 1, "0414150504", "0d1d1e0e0d" },
  [";"] = { 1, "1502", "0d1d1e0e0d" }, ["-"] = { 6, "0a6a" }, ["+"] = { 10, "0aaa", "5f55" },
  ["±"] = { 10, "0cac", "5h57", "04a4" }, ["="] = { 10, "0cac", "08a8" }, ["%"] = { 14, "~0b6b6i0i0b", "ci24",
    "~84e4eb8b84" },
  ["("] = { 4, "~4j0g0641" }, [")"] = { 4, "~0j4g4601" }, ["["] = { 4, "4j0j0141" }, ["]"] = { 4, "0j4j4101" },
  ["/"] = { 8, "028j" }, ["<"] = { 9, "9f0a95" }, [">"] = { 9, "0f9a05" }, ["_"] = { 10, "02a2" },
  ["*"] = { 8, "4i4a", "0g8c", "0c8g" }, ["'"] = { 1, "0i0e" }, ['"'] = { 5, "0i0e", "5i5e" },
  ["!"] = { 1, "0i09", "0405" }, ["?"] = { 9, "~0f0i9i9c4d4a48", "4445" },
  ["#"] = { 11, "244i", "749i", "0dbd", "09b9" },
}

local unknown = { 9, "04949i0i04" }

local function point_list(text)
  local points = {}
  for x, y in text:gmatch("(%w)(%w)") do
    points[#points + 1] = { tonumber(x, 36), tonumber(y, 36) }
  end
  return points
end

local function between(a, b, share) return { a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2]) } end

--- Chaikin's corner cutting: each inner corner becomes two, at a quarter of its edges.
local function cut_corners(points, closed)
  local cut = closed and {} or { points[1] }
  for i = 1, #points - 1 do
    cut[#cut + 1] = between(points[i], points[i + 1], 0.25)
    cut[#cut + 1] = between(points[i], points[i + 1], 0.75)
  end
  cut[#cut + 1] = closed and cut[1] or points[#points]
  return cut
end

local function stroke_points(text)
  local points = point_list(text)
  if text:sub(1, 1) ~= "~" then return points end
  local first, last = points[1], points[#points]
  local closed = first[1] == last[1] and first[2] == last[2]
  for _ = 1, ROUNDS do
    points = cut_corners(points, closed)
  end
  return points
end

--- Character -> width and the strokes as lists of points, made when first asked for.
local ready = {}

local function glyph_of(character)
  local glyph = ready[character]
  if not glyph then
    local design = glyphs[character] or unknown
    glyph = { width = design[1], strokes = {} }
    for i = 2, #design do
      glyph.strokes[i - 1] = stroke_points(design[i])
    end
    ready[character] = glyph
  end
  return glyph
end

local function characters(text) return text:gmatch(utf8.len(text) and utf8.charpattern or ".") end

--- The width of a line of text.
-- @string text
-- @treturn number in the font's units, EM to the text's size
function font.width(text)
  local width = 0
  for character in characters(text) do
    width = width + glyph_of(character).width + GAP
  end
  return math.max(0, width - GAP)
end

--- Calls `draw` with every stroke of a line of text: a list of points {x, y}, x from 0, y up from the baseline.
-- @string text
-- @tparam function draw
function font.each_stroke(text, draw)
  local left = 0
  for character in characters(text) do
    local glyph = glyph_of(character)
    for _, stroke in ipairs(glyph.strokes) do
      local points = {}
      for i, point in ipairs(stroke) do
        points[i] = { left + point[1], point[2] - font.BASELINE }
      end
      draw(points)
    end
    left = left + glyph.width + GAP
  end
end

return font
