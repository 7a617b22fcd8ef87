/* Masks, from heatmaps and at random (mask.*). */
#include "explain/impute.h"
#include "explain/mask.h"
#include "explain/random_mask.h"
#include "explain/rank.h"
#include "lua/binding.h"

static mt_protocol option_protocol(lua_State *L, int arg) {
  static const char *const protocols[] = {[MT_PROTOCOL_PAPER] = "paper", [MT_PROTOCOL_REFERENCE] = "reference", NULL};
  return (mt_protocol)mtl_option_choice(L, arg, "protocol", MT_PROTOCOL_PAPER, protocols);
}

/* Option 'size': the images' height and width. */
static void option_size(lua_State *L, int arg, int64_t size[2]) {
  luaL_argcheck(L, mtl_has_option(L, arg, "size"), arg, "option 'size': integer or {height, width} expected, got nil");
  mtl_option_pair(L, arg, "size", 0, 1, INT32_MAX, size);
}

static void require_option(lua_State *L, int arg, bool wanted, const char *name, const char *rule) {
  const bool given = mtl_has_option(L, arg, name);
  if (given && !wanted) luaL_argerror(L, arg, lua_pushfstring(L, "option '%s': only with rule '%s'", name, rule));
  if (!given && wanted) luaL_argerror(L, arg, lua_pushfstring(L, "option '%s': required with rule '%s'", name, rule));
}

/*** Heatmaps to masks, and masks on images (paper, equations 2 to 4).
@module mask */

/*** Masks from heatmaps. Protocol "paper": statistics of the raw heatmap, mask enlarged (nearest). Protocol
"reference": heatmap scaled to [0,1], enlarged (bilinear) and scaled again, statistics of the values > 0 only. Rules:
"sigma" masks what is above mean + k * standard deviation (population) of the image's heatmap; "global_mean" what is
above `mean` (see mask.mean); "topk" the `top` highest values of each (of equals the first); "soft" keeps 1 - heatmap
scaled to [0,1]. A heatmap without any difference in it masks nothing; one with NaN or infinity is an error.
@function mask.threshold
@tparam Tensor heat float32 {N,h,w}
@tparam table options `size` ({height, width} of the images, required), `protocol` ("paper", "reference"), `rule`
("sigma", "global_mean", "soft", "topk"), `k` (2), `mean`, `top`
@treturn Tensor {N,H,W}: uint8, 1 = keep; float32 in [0,1] for "soft" */
static int threshold(lua_State *L) {
  static const char *const known[] = {"protocol", "rule", "size", "k", "mean", "top", NULL};
  static const char *const rules[] = {[MT_RULE_SIGMA] = "sigma",
                                      [MT_RULE_GLOBAL_MEAN] = "global_mean",
                                      [MT_RULE_SOFT] = "soft",
                                      [MT_RULE_TOPK] = "topk",
                                      NULL};
  const mt_tensor *heat = mtl_check_tensor(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  mtl_check_options(L, 2, known);
  mt_mask_options options = {.protocol = option_protocol(L, 2)};
  options.rule = (mt_mask_rule)mtl_option_choice(L, 2, "rule", MT_RULE_SIGMA, rules);
  option_size(L, 2, options.size);
  require_option(L, 2, options.rule == MT_RULE_GLOBAL_MEAN, "mean", "global_mean");
  require_option(L, 2, options.rule == MT_RULE_TOPK, "top", "topk");
  if (options.rule != MT_RULE_SIGMA) require_option(L, 2, false, "k", "sigma");
  options.k = mtl_option_number(L, 2, "k", 2.0, -1e6, 1e6);
  options.mean = mtl_option_number(L, 2, "mean", 0.0, -1e38, 1e38);
  options.top = mtl_option_integer(L, 2, "top", 0, 1, INT32_MAX);
  mt_tensor *keep;
  MTL_NEW(L, keep, mt_mask_threshold(heat, &options));
  mtl_push_tensor(L, keep);
  return 1;
}

/*** The mean of the heatmaps' values over all images, for rule "global_mean". Heatmaps that come in parts: the parts'
means weighted with their counts.
@function mask.mean
@tparam Tensor heat float32 {N,h,w}
@tparam[opt] table options `protocol` ("paper": the raw values; "reference": the scaled ones > 0), `size` (required for
"reference")
@treturn number
@treturn integer how many values it is the mean of */
static int mean(lua_State *L) {
  static const char *const known[] = {"protocol", "size", NULL};
  const mt_tensor *heat = mtl_check_tensor(L, 1);
  mtl_check_options(L, 2, known);
  const mt_protocol protocol = option_protocol(L, 2);
  int64_t size[2] = {1, 1}, count;
  double value;
  if (protocol == MT_PROTOCOL_REFERENCE || mtl_has_option(L, 2, "size")) option_size(L, 2, size);
  MTL_DO(L, mt_mask_mean(heat, protocol, size, &value, &count));
  lua_pushnumber(L, value);
  lua_pushinteger(L, count);
  return 2;
}

/*** Masks images: each pixel times what is kept of it.
@function mask.apply
@tparam Tensor images uint8 or float32 {N,H,W,C}
@tparam Tensor|Masks keep {N,H,W}: uint8 (0 = masked) or float32 in [0,1]
@treturn Tensor of the images' dtype (uint8 values rounded) */
static int apply(lua_State *L) {
  const mt_tensor *images = mtl_check_tensor(L, 1);
  if (mtl_test_masks(L, 2)) mtl_unpack_masks(L, 2);
  const mt_tensor *keep = mtl_check_tensor(L, 2);
  mt_tensor *masked;
  MTL_NEW(L, masked, mt_mask_apply(images, keep));
  mtl_push_tensor(L, masked);
  return 1;
}

/*** The order in which pixels matter: 1 for each heatmap's highest value, and so on; of equals the first in row order.
@function mask.rank
@tparam Tensor heat finite float32 {N,h,w}
@treturn Tensor int32 {N,h,w}
@usage local keep = mt.mask.rank(heat):gt(100)   -- hides the 100 most important pixels of each image */
static int rank(lua_State *L) {
  const mt_tensor *heat = mtl_check_tensor(L, 1);
  mt_tensor *ranks;
  MTL_NEW(L, ranks, mt_heat_rank(heat));
  mtl_push_tensor(L, ranks);
  return 1;
}

/*** Fills masked pixels from those around them: each becomes the weighted mean of its eight neighbours, 1/6 for direct
and 1/12 for diagonal ones, scaled up at the border; masked neighbours are unknowns of the same linear system (ROAD:
Rong et al. 2022, section 4.2). Solved to a residual of 1e-10 of its right side's norm.
@function mask.impute
@tparam Tensor images finite float32 {N,H,W,C}
@tparam Tensor keep uint8 {N,H,W}: 0 = masked
@treturn Tensor {N,H,W,C}; images of which nothing is kept are 0 */
static int impute(lua_State *L) {
  const mt_tensor *images = mtl_check_tensor(L, 1), *keep = mtl_check_tensor(L, 2);
  mt_tensor *filled;
  MTL_NEW(L, filled, mt_impute(images, keep));
  mtl_push_tensor(L, filled);
  return 1;
}

static mt_tensor *random_squares(lua_State *L, int64_t n) {
  int64_t size[2];
  option_size(L, 2, size);
  if (mtl_has_option(L, 2, "keep")) luaL_argerror(L, 2, "option 'keep': only with kind 'area'");
  const int64_t min_side = mtl_option_integer(L, 2, "min", 2, 1, INT32_MAX);
  const int64_t max_side = mtl_option_integer(L, 2, "max", 14, min_side, INT32_MAX);
  mt_rng *rng = mtl_option_generator(L, 2, "generator");
  mt_tensor *masks;
  MTL_NEW(L, masks, mt_random_squares(n, size, min_side, max_side, rng));
  return masks;
}

static mt_tensor *random_areas(lua_State *L, int64_t n) {
  static const char *const of_squares[] = {"min", "max"};
  const mt_tensor *keep = mtl_option_tensor(L, 2, "keep");
  luaL_argcheck(L, keep, 2, "option 'keep': the masks whose area to match expected, got nil");
  luaL_argcheck(L, keep->ndim == 3 && keep->shape[0] == n, 2, "option 'keep': n masks {n,H,W} expected");
  for (int i = 0; i < 2; i++)
    if (mtl_has_option(L, 2, of_squares[i]))
      luaL_argerror(L, 2, lua_pushfstring(L, "option '%s': only with kind 'square'", of_squares[i]));
  if (mtl_has_option(L, 2, "size")) {
    int64_t size[2];
    option_size(L, 2, size);
    luaL_argcheck(L, size[0] == keep->shape[1] && size[1] == keep->shape[2], 2,
                  "option 'size': that of 'keep' expected");
  }
  mt_rng *rng = mtl_option_generator(L, 2, "generator");
  mt_tensor *masks;
  MTL_NEW(L, masks, mt_random_same_area(keep, rng));
  return masks;
}

/*** Random masks, the RandMask baseline. Kind "square" (the reference's): one square hole an image, centre uniform,
side uniform in min..max, cut off at the border. Kind "area": as many masked pixels in each image as in `keep`, as
nearly a square as fits, anywhere inside the image.
@function mask.random
@tparam integer n
@tparam table options `kind` ("square", "area"), `size` ({height, width}), `min` (2) and `max` (14) for squares; `keep`
(uint8 {n,H,W}, which gives the size) for areas; `generator`
@treturn Tensor uint8 {n,H,W}, 1 = keep */
static int random_mask(lua_State *L) {
  static const char *const known[] = {"kind", "size", "min", "max", "keep", "generator", NULL};
  static const char *const kinds[] = {"square", "area", NULL};
  const int64_t n = mtl_check_integer(L, 1, 0, INT32_MAX);
  luaL_checktype(L, 2, LUA_TTABLE);
  mtl_check_options(L, 2, known);
  const int kind = mtl_option_choice(L, 2, "kind", 0, kinds);
  mtl_push_tensor(L, kind == 0 ? random_squares(L, n) : random_areas(L, n));
  return 1;
}

static const luaL_Reg mask_functions[] = {
    {"threshold", threshold}, {"mean", mean},          {"apply", apply}, {"rank", rank},
    {"impute", impute},       {"random", random_mask}, {NULL, NULL},
};

void mtl_open_explain(lua_State *L) {
  luaL_getsubtable(L, -1, "mask");
  luaL_setfuncs(L, mask_functions, 0);
  lua_pop(L, 1);
}
