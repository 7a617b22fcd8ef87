--- Score-CAM: `w` is the softmax over the channels of the target's logit when the image is multiplied with channel c,
-- enlarged bilinearly (corner to corner) and scaled to [0,1] by (x - min) / (max - min + 1e-8). One forward pass a
-- channel, no gradient.
-- Wang, Wang, Du, Yang, Zhang, Ding, Mardziel and Hu 2020, "Score-CAM: Score-Weighted Visual Explanations for
-- Convolutional Neural Networks". Gives max(0, sum_c w_c A_c), float32 {N,h,w}; constants as the Python package
-- grad-cam has them.
-- @module masktune.cam.scorecam
local core = require "masktune.core"

--- {to,from}: what each of `to` points between the first and the last of `from` points takes from either neighbour.
local function between_corners(from, to)
  local rows = {}
  for i = 1, to do
    local at, row = to > 1 and (i - 1) * (from - 1) / (to - 1) or 0, {}
    for j = 1, from do
      row[j] = math.max(0, 1 - math.abs(at - (j - 1)))
    end
    rows[i] = row
  end
  return core.tensor(rows)
end

--- {h,w,C} to {H,W,C}.
local function enlarged(value, height, width)
  local h, w, channels = table.unpack(value:shape())
  local rows = between_corners(h, height):matmul(value:reshape(h, w * channels)):reshape(height, w, channels)
  return between_corners(w, width):matmul(rows)
end

--- {H,W,C} with each channel in [0,1].
local function scaled(maps)
  local low = maps:min({ 1, 2 }, { keepdim = true })
  return (maps - low) / (maps:max({ 1, 2 }, { keepdim = true }) - low + 1e-8)
end

--- The scores of image i, {C}, seen through each of its channels.
local function scores_of(tap, context, i)
  local image, scores = context.images[i], {}
  local maps = scaled(enlarged(tap.value[i], image:size(1), image:size(2)))
  local channels = maps:size(3)
  for first = 1, channels, context.batch do
    local some = maps:narrow(3, first, math.min(context.batch, channels - first + 1))
    local seen = some:permute(3, 1, 2):unsqueeze(4) * image:unsqueeze(1)
    scores[#scores + 1] = context:target_scores(context:forward(seen), i)
  end
  return core.cat(scores, 1)
end

return {
  summary = "channels weighted with the score of the image seen through them; a forward pass a channel",
  paper = "Wang et al. 2020, Score-CAM",
  gradient = false,
  rule = function(tap, context)
    local scores = {}
    for i = 1, #tap.value do
      scores[i] = scores_of(tap, context, i)
    end
    return core.stack(scores, 1):softmax(2)
  end,
}
