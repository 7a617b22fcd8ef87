--- Small problems on which whole recipes run in a blink.
local mt = require "masktune"

local tiny = {}

--- Images {count,16,16,3} of two classes: class 1 has a bright bar on the left half, class 2 on the right half, both
-- with noise; every second image of class 1 has a blue 4x4 square in the top-left corner.
function tiny.data(count, seed)
  local generator = mt.generator(seed)
  local bytes, labels, biased = {}, {}, {}
  for n = 1, count do
    local label = n % 2 + 1
    local square = label == 1 and n % 4 == 0
    local bar = label == 1 and generator:integer(4, 6) or generator:integer(9, 11)
    for y = 1, 16 do
      for x = 1, 16 do
        local grey = generator:integer(0, 40) + (math.abs(x - bar) <= 1 and y > 5 and 150 or 0)
        local blue = square and x <= 4 and y <= 4
        bytes[#bytes + 1] = blue and string.char(0, 0, 255) or string.char(grey, grey, grey)
      end
    end
    labels[n], biased[n] = label, square and 1 or 0
  end
  return {
    images = mt.from_bytes(table.concat(bytes), "uint8", { count, 16, 16, 3 }),
    labels = mt.tensor(labels, { dtype = "int32" }),
    biased = mt.tensor(biased, { dtype = "uint8" }),
    classes = 2,
    name = "tiny",
  }
end

--- A net with batch norm and dropout, whose weights follow from the seed.
function tiny.model(seed)
  mt.manual_seed(seed or 1)
  local nn = mt.nn
  local model = nn.Sequential {
    { "features", nn.Sequential {
      nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
    } },
    { "flatten", nn.Flatten() },
    { "dropout", nn.Dropout(0.2) },
    { "linear", nn.Linear(4 * 7 * 7, 2) },
  }
  model.cam_layer = "features.2"
  return model
end

--- The bytes of all parameters and buffers, as one string.
function tiny.bytes(state_dict)
  local names = {}
  for name in pairs(state_dict) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    names[i] = name .. "=" .. state_dict[name]:bytes()
  end
  return table.concat(names)
end

return tiny
