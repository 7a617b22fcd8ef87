--- Heatmaps of what an image classifier looks at: one method a file of this folder, `mt.cam` the list of them.
--
-- Every method is called alike: `heat, predicted = mt.cam.NAME(model, images, options)`.
-- `images` are {N,H,W,C}, float32 or uint8 (divided by 255); `model` gives logits {N,k} and runs in eval mode, a part
-- of the images at a time; it is in the modes it had afterwards, and parameters' gradients are not touched.
-- Options of all methods: `target` (a class 1..k, an int32 {N} of classes, or nil: each image's most probable one) and
-- `batch` (images run at once; default: what suits their size). Of those that look at a layer: `layer` (its dotted
-- name; default: `model.cam_layer`), or `layers` (a list of names). Some have options of their own: see their files.
--
-- `heat` is float32 {N,h,w}, >= 0, at the layer's resolution and not scaled: max(0, the method's map). Of several
-- layers it is {N,H,W}: their heatmaps, each scaled to [0,1] by (x - min) / (max - min + 1e-7) and resized
-- bilinearly to the image, averaged, as the Python package grad-cam does. Methods that look at the image itself give
-- {N,H,W}. `predicted` are the most probable classes, int32 {N}.
--
-- A method of your own is a file `masktune/cam/NAME.lua` anywhere on package.path, or `mt.cam.NAME = {...}`, with
--
--    return {
--      summary = "one line for the list",
--      paper = "where it comes from",
--      rule = function(tap, context) return tap.gradient:mean{ 2, 3 } end,   -- this is gradcam
--    }
--
-- or the function alone. The rule gets a part of the images at once. `tap` is what the layer gave: `value` and
-- `gradient` (of the target's logit, summed over the images), both {n,h,w,C}, `name`, `module`. It returns a map
-- {n,h,w}, or channel weights {n,C}, which stand for the map sum_c w_c A_c. `context` is described in
-- masktune.explain.context; masktune.explain.method lists what else a method may have.
-- @module masktune.cam
local method = require "masktune.explain.method"
local registry = require "masktune.registry"

return registry.new("masktune.cam", { kind = "CAM", accept = method.make })
