--- FEM: `w_c` is the share of the pixels where A_c exceeds its mean by more than k standard deviations. No class, no
-- gradient.
-- Fuad, Martin, Giot, Bourqui, Benois-Pineau and Zemmari 2020, "Features Understanding in 3D CNNs for Actions
-- Recognition in Video". Gives max(0, sum_c w_c A_c), float32 {N,h,w}. Option `k` (2).
-- @module masktune.cam.fem
return {
  summary = "channels weighted with their share of unusually high activations; no class, no gradient",
  paper = "Fuad et al. 2020, Feature Explanation Method",
  gradient = false,
  options = { k = { type = "number", default = 2 } },
  rule = function(tap, context)
    local mean = tap.value:mean({ 2, 3 }, { keepdim = true })
    local deviation = tap.value:std({ 2, 3 }, { keepdim = true, unbiased = false })
    return tap.value:gt(mean + context.options.k * deviation):to("float32"):mean { 2, 3 }
  end,
}
