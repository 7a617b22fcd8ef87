#!/usr/bin/env lua5.4
-- Proposition 2 of the paper, on random linear problems with more features than samples: of two minimum-norm solutions,
-- one trained with the feature s and one without it, the answers agree on a new sample (z, s) exactly where s is what
-- the training data make of z: s = (Z^T (Z Z^T)^-1 S)^T z. This is why the two nets of MaskTune, asked together, may
-- abstain where the masked feature and the others no longer belong together.
--
--   lua5.4 examples/proposition2.lua
--   lua5.4 examples/proposition2.lua --samples 100 --features 400 --problems 20

dofile((arg[0]:match("^.*/") or "") .. "checkout.lua")

local mt = require "masktune"
local kinds = mt.cli.kinds

local TESTS = 1000 -- new samples of each kind
local ROUNDING = 1e-4 -- of float32, as a share of the answers' size

local function largest(tensor) return tensor:abs():max():item() end

--- A training set: Z {n,d-1}, S {n} and the answers y {n}; nothing relates them but that Z has more columns than rows.
local function problem(o, generator)
  local function normal(...) return mt.randn({ ... }, { generator = generator }) end
  return { Z = normal(o.samples, o.features - 1), S = normal(o.samples), y = normal(o.samples) }
end

--- New samples {m,d-1} with an s that keeps to the relation of the training data, or departs from it by 0.1 to 1.
local function new_samples(o, beta, departs, generator)
  local z = mt.randn({ TESTS, o.features - 1 }, { generator = generator })
  local s = z:matmul(beta)
  if not departs then return z, s, mt.zeros { TESTS } end
  local by = mt.rand({ TESTS }, { generator = generator }) * 0.9 + 0.1
  return z, s + by, by
end

--- How far the two models' answers are apart on the new samples, and how far the proposition's proof says.
local function distances(with_s, without_s, z, s, by)
  local d = z:size(2)
  local weight_of_s = with_s[d + 1]:item()
  local apart = z:matmul(with_s:narrow(1, 1, d)) + s * weight_of_s - z:matmul(without_s)
  return apart, by * weight_of_s
end

local function solve(o, number)
  local generator = mt.generator(number)
  local p = problem(o, generator)
  local with_s = mt.lstsq(mt.cat({ p.Z, p.S:unsqueeze(2) }, 2), p.y)
  local without_s, beta = mt.lstsq(p.Z, p.y), mt.lstsq(p.Z, p.S)
  local formula = p.Z:transpose():matmul(mt.lstsq(p.Z:matmul(p.Z:transpose()), p.S))
  local kept = distances(with_s, without_s, new_samples(o, beta, false, generator))
  local left, predicted = distances(with_s, without_s, new_samples(o, beta, true, generator))
  local size = math.max(largest(p.y), largest(left))
  local agree = largest(kept) / size
  local off = largest(left - predicted) / size
  local agreeing = left:abs():lt(predicted:abs() / 2):to("float32"):sum():item()
  return {
    agree = agree, off = off, agreeing = agreeing, beta = largest(beta - formula) / largest(beta),
    holds = agree < ROUNDING and off < ROUNDING and agreeing == 0,
  }
end

local function main(o)
  if o.features - 1 <= o.samples then
    error(("--features is %d, expected more than --samples + 1 = %d: else nothing is over-parameterised"):format(
      o.features, o.samples + 1), 0)
  end
  local rows, holding = {}, 0
  for number = 1, o.problems do
    local found = solve(o, number)
    holding = holding + (found.holds and 1 or 0)
    rows[number] = {
      tostring(number), ("%.1e"):format(found.beta), ("%.1e"):format(found.agree), ("%.1e"):format(found.off),
      ("%d of %d"):format(found.agreeing, TESTS),
    }
  end
  print(mt.report.table({
    "problem", "beta - formula", "apart where s = beta z", "apart - w_s (s - beta z) elsewhere", "agree there",
  }, rows))
  print(("%d samples, %d features: the proposition holds in %d of %d problems (to float32's rounding)"):format(
    o.samples, o.features, holding, o.problems))
  if holding < o.problems then error("the proposition fails", 0) end
end

os.exit(mt.cli.run({
  name = "proposition2.lua",
  about = "Two minimum-norm solutions agree exactly where the masked feature follows from the others (Proposition 2).",
  main = main,
  options = {
    { name = "samples", value = "N", kind = kinds.integer(1, 2000), default = 20, default_text = "20",
      help = "training samples" },
    { name = "features", value = "D", kind = kinds.integer(3, 4000), default = 60, default_text = "60",
      help = "features, s among them: more than samples + 1" },
    { name = "problems", value = "N", kind = kinds.integer(1, 1000), default = 5, default_text = "5",
      help = "random problems" },
    mt.cli.options.help,
  },
}, arg), true)
