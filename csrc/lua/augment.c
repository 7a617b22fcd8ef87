/* Image transforms: with given parameters (image.flip ... image.normalize), and drawn at random (image.augment). */
#include <string.h>

#include "lua/augment.h"

#define ANY_NUMBER 1e6
#define MAX_CHANNELS 64

static const char *const interpolations[] = {"nearest", "bilinear", NULL};
static const char *const color_names[] = {
    [MT_BRIGHTNESS] = "brightness", [MT_CONTRAST] = "contrast", [MT_SATURATION] = "saturation", [MT_HUE] = "hue"};

static int push_transformed(lua_State *L, const char *op, const mt_tensor *images, const mt_transform *transform) {
  mt_tensor *changed;
  MTL_NEW(L, changed, mt_transform_images(op, images, transform));
  mtl_push_tensor(L, changed);
  return 1;
}

/* ---- options of several numbers ---- */

/* Field `name` of the table at arg, a list of `count` numbers; false where it is missing. */
static bool option_numbers(lua_State *L, int arg, const char *name, int count, double lo, double hi, double *out) {
  if (lua_getfield(L, arg, name) == LUA_TNIL) {
    lua_pop(L, 1);
    return false;
  }
  bool valid = lua_istable(L, -1) && luaL_len(L, -1) == count;
  for (int i = 0; valid && i < count; i++) {
    valid = lua_geti(L, -1, i + 1) == LUA_TNUMBER;
    out[i] = lua_tonumber(L, -1);
    valid = valid && out[i] >= lo && out[i] <= hi;
    lua_pop(L, 1);
  }
  if (!valid) {
    const char *expected = lua_pushfstring(L, "table of %d numbers in [%f, %f]", count, lo, hi);
    lua_getfield(L, arg, name);
    mtl_option_error(L, arg, name, expected);
  }
  lua_pop(L, 1);
  return true;
}

static mt_range option_range(lua_State *L, int arg, const char *name, mt_range fallback, double lo, double hi) {
  double ends[2] = {fallback.low, fallback.high};
  option_numbers(L, arg, name, 2, lo, hi, ends);
  if (ends[0] > ends[1])
    luaL_argerror(L, arg,
                  lua_pushfstring(L, "option '%s': {low, high} expected, got {%f, %f}", name, ends[0], ends[1]));
  return (mt_range){ends[0], ends[1]};
}

/* The numbers of a list of any length up to MAX_CHANNELS; 0 where it is missing. */
static int option_channel_values(lua_State *L, int arg, const char *name, double lo, float *out) {
  double values[MAX_CHANNELS];
  lua_getfield(L, arg, name);
  const lua_Integer count = lua_istable(L, -1) ? luaL_len(L, -1) : 0;
  if (count < 1 || count > MAX_CHANNELS) mtl_option_error(L, arg, name, "table of a number for each channel");
  lua_pop(L, 1);
  option_numbers(L, arg, name, (int)count, lo, ANY_NUMBER, values);
  for (lua_Integer i = 0; i < count; i++) out[i] = (float)values[i];
  return (int)count;
}

/* Options 'mean' and 'std', as long as each other; the number of channels. */
static int option_normalization(lua_State *L, int arg, float *mean, float *std) {
  const int count = option_channel_values(L, arg, "mean", -ANY_NUMBER, mean);
  const int other = option_channel_values(L, arg, "std", 1e-12, std);
  if (count != other)
    luaL_argerror(L, arg, lua_pushfstring(L, "option 'std': %d numbers expected, got %d", count, other));
  return count;
}

/* ---- given parameters ---- */

/*** Images with left and right exchanged.
@function image.flip
@tparam Tensor images float32 {N,H,W,C}
@treturn Tensor */
static int flip(lua_State *L) {
  const mt_transform transform = {.kind = MT_TRANSFORM_FLIP};
  return push_transformed(L, "flip", mtl_check_tensor(L, 1), &transform);
}

/*** Images turned about their centre and then shifted (torchvision's affine); what comes from outside is 0.
@function image.affine
@tparam Tensor images float32 {N,H,W,C}
@tparam table options `angle` (degrees, clockwise; 0), `shift` ({down, right} in pixels; {0, 0}), `interpolation`
("nearest"; "bilinear")
@treturn Tensor */
static int affine(lua_State *L) {
  static const char *const known[] = {"angle", "shift", "interpolation", NULL};
  const mt_tensor *images = mtl_check_tensor(L, 1);
  mt_transform transform = {.kind = MT_TRANSFORM_AFFINE};
  luaL_checktype(L, 2, LUA_TTABLE);
  mtl_check_options(L, 2, known);
  transform.affine.angle = mtl_option_number(L, 2, "angle", 0.0, -ANY_NUMBER, ANY_NUMBER);
  option_numbers(L, 2, "shift", 2, -ANY_NUMBER, ANY_NUMBER, transform.affine.shift);
  transform.affine.bilinear = mtl_option_choice(L, 2, "interpolation", 0, interpolations);
  return push_transformed(L, "affine", images, &transform);
}

static int64_t required_integer(lua_State *L, int arg, const char *name, int64_t lo, int64_t hi) {
  if (!mtl_has_option(L, arg, name)) {
    lua_pushnil(L);
    mtl_option_error(L, arg, name, "integer");
  }
  return mtl_option_integer(L, arg, name, 0, lo, hi);
}

static mt_box option_box(lua_State *L, int arg, int64_t lowest) {
  return (mt_box){required_integer(L, arg, "top", lowest, MT_TRANSFORM_MAX_SIDE),
                  required_integer(L, arg, "left", lowest, MT_TRANSFORM_MAX_SIDE),
                  required_integer(L, arg, "height", 1, MT_TRANSFORM_MAX_SIDE),
                  required_integer(L, arg, "width", 1, MT_TRANSFORM_MAX_SIDE)};
}

/*** Cuts a box out of images; what of it is outside is 0.
@function image.crop
@tparam Tensor images float32 {N,H,W,C}
@tparam table options `top`, `left` (pixels from 0, may be negative), `height`, `width`
@treturn Tensor float32 {N,height,width,C} */
static int crop(lua_State *L) {
  static const char *const known[] = {"top", "left", "height", "width", NULL};
  const mt_tensor *images = mtl_check_tensor(L, 1);
  mt_transform transform = {.kind = MT_TRANSFORM_CROP};
  luaL_checktype(L, 2, LUA_TTABLE);
  mtl_check_options(L, 2, known);
  transform.crop.box = option_box(L, 2, -MT_TRANSFORM_MAX_SIDE);
  transform.crop.height = transform.crop.box.height;
  transform.crop.width = transform.crop.box.width;
  return push_transformed(L, "crop", images, &transform);
}

/*** Cuts a box out of images and brings it to a size: bilinear, averaging where it shrinks (antialiased).
@function image.resized_crop
@tparam Tensor images float32 {N,H,W,C}
@tparam table options `top`, `left` (pixels from 0), `height`, `width` (the box, inside the image), `size` (an integer
or {height, width})
@treturn Tensor float32 {N,h,w,C} */
static int resized_crop(lua_State *L) {
  static const char *const known[] = {"top", "left", "height", "width", "size", NULL};
  int64_t size[2];
  const mt_tensor *images = mtl_check_tensor(L, 1);
  mt_transform transform = {.kind = MT_TRANSFORM_RESIZED_CROP};
  luaL_checktype(L, 2, LUA_TTABLE);
  mtl_check_options(L, 2, known);
  transform.crop.box = option_box(L, 2, 0);
  luaL_argcheck(L, mtl_has_option(L, 2, "size"), 2, "option 'size': integer or {height, width} expected, got nil");
  mtl_option_pair(L, 2, "size", 0, 1, MT_TRANSFORM_MAX_SIDE, size);
  transform.crop.height = size[0];
  transform.crop.width = size[1];
  return push_transformed(L, "resized_crop", images, &transform);
}

/*** Changes colours, in the order brightness, contrast, saturation, hue (torchvision's adjust_ functions).
@function image.adjust_color
@tparam Tensor images float32 {N,H,W,C} in [0,1] with C 1 or 3
@tparam table options `brightness`, `contrast`, `saturation` (factors; 1 changes nothing, 0 gives black, the mean gray,
gray), `hue` (-0.5 to 0.5 of the circle)
@treturn Tensor in [0,1] */
static int adjust_color(lua_State *L) {
  static const char *const known[] = {"brightness", "contrast", "saturation", "hue", NULL};
  const mt_tensor *images = mtl_check_tensor(L, 1);
  mt_transform transform = {.kind = MT_TRANSFORM_COLOR};
  luaL_checktype(L, 2, LUA_TTABLE);
  mtl_check_options(L, 2, known);
  for (int change = 0; change < MT_COLOR_COUNT; change++) {
    const bool hue = change == MT_HUE;
    if (!mtl_has_option(L, 2, color_names[change])) continue;
    transform.color.amount[change] =
        (float)mtl_option_number(L, 2, color_names[change], 1.0, hue ? -0.5 : 0.0, hue ? 0.5 : ANY_NUMBER);
    transform.color.order[transform.color.count++] = (mt_color_change)change;
  }
  return push_transformed(L, "adjust_color", images, &transform);
}

/*** (value - mean) / std for each channel.
@function image.normalize
@tparam Tensor images float32 {N,H,W,C}
@tparam table options `mean`, `std`: tables of C numbers
@treturn Tensor */
static int normalize(lua_State *L) {
  static const char *const known[] = {"mean", "std", NULL};
  float mean[MAX_CHANNELS], std[MAX_CHANNELS];
  const mt_tensor *images = mtl_check_tensor(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  mtl_check_options(L, 2, known);
  const int count = option_normalization(L, 2, mean, std);
  if (images->ndim == 4 && images->shape[3] != count)
    luaL_argerror(L, 2,
                  lua_pushfstring(L, "option 'mean': a number for each of %I channels expected, got %d",
                                  (LUAI_UACINT)images->shape[3], count));
  const mt_transform transform = {.kind = MT_TRANSFORM_NORMALIZE, .normalize = {mean, std}};
  return push_transformed(L, "normalize", images, &transform);
}

/* ---- drawn at random ---- */

/* mean and std of the steps that normalise lie here: a step holds pointers. */
typedef struct {
  mt_augmentation steps[MT_AUGMENT_MAX_STEPS];
  float mean[MT_AUGMENT_MAX_STEPS][MAX_CHANNELS], std[MT_AUGMENT_MAX_STEPS][MAX_CHANNELS];
} step_list;

static void parse_flip(lua_State *L, int arg, mt_augmentation *a) {
  a->flip.probability = mtl_option_number(L, arg, "probability", 0.5, 0.0, 1.0);
}

static void parse_affine(lua_State *L, int arg, mt_augmentation *a) {
  a->affine.angle = option_range(L, arg, "degrees", (mt_range){0.0, 0.0}, -ANY_NUMBER, ANY_NUMBER);
  option_numbers(L, arg, "shift", 2, 0.0, 1.0, a->affine.shift);
  a->affine.bilinear = mtl_option_choice(L, arg, "interpolation", 0, interpolations);
}

static void option_size(lua_State *L, int arg, int64_t *height, int64_t *width) {
  int64_t size[2];
  mtl_option_pair(L, arg, "size", 0, 1, MT_TRANSFORM_MAX_SIDE, size);
  *height = size[0];
  *width = size[1];
}

static void parse_crop(lua_State *L, int arg, mt_augmentation *a) {
  option_size(L, arg, &a->crop.height, &a->crop.width);
  mtl_option_pair(L, arg, "padding", 0, 0, MT_TRANSFORM_MAX_SIDE, a->crop.padding);
}

static void parse_resized_crop(lua_State *L, int arg, mt_augmentation *a) {
  option_size(L, arg, &a->resized_crop.height, &a->resized_crop.width);
  a->resized_crop.area = option_range(L, arg, "scale", (mt_range){0.08, 1.0}, 1e-6, 1.0);
  a->resized_crop.ratio = option_range(L, arg, "ratio", (mt_range){3.0 / 4.0, 4.0 / 3.0}, 1e-3, 1e3);
}

static void parse_color(lua_State *L, int arg, mt_augmentation *a) {
  for (int change = 0; change < MT_COLOR_COUNT; change++) {
    const bool hue = change == MT_HUE;
    const mt_range nothing = {hue ? 0.0 : 1.0, hue ? 0.0 : 1.0};
    a->color.amount[change] =
        option_range(L, arg, color_names[change], nothing, hue ? -0.5 : 0.0, hue ? 0.5 : ANY_NUMBER);
  }
}

/* One row a kind: its name as a step and how its options are read. */
static const struct {
  const char *name;
  void (*parse)(lua_State *L, int arg, mt_augmentation *a);
} kinds[] = {
    [MT_TRANSFORM_FLIP] = {"horizontal_flip", parse_flip},
    [MT_TRANSFORM_AFFINE] = {"affine", parse_affine},
    [MT_TRANSFORM_CROP] = {"crop", parse_crop},
    [MT_TRANSFORM_RESIZED_CROP] = {"resized_crop", parse_resized_crop},
    [MT_TRANSFORM_COLOR] = {"color_jitter", parse_color},
    [MT_TRANSFORM_NORMALIZE] = {"normalize", NULL},
};
#define KIND_COUNT ((int)(sizeof kinds / sizeof kinds[0]))

/* The step on top of the stack. */
static void parse_step(lua_State *L, int arg, step_list *list, int i) {
  const int at = lua_gettop(L);
  mt_augmentation *a = &list->steps[i];
  if (!lua_istable(L, at)) luaL_argerror(L, arg, lua_pushfstring(L, "step %d: table expected", i + 1));
  lua_geti(L, at, 1);
  int kind = 0;
  while (kind < KIND_COUNT && !(lua_type(L, -1) == LUA_TSTRING && strcmp(kinds[kind].name, lua_tostring(L, -1)) == 0))
    kind++;
  if (kind == KIND_COUNT) luaL_argerror(L, arg, lua_pushfstring(L, "step %d: its first field is no known kind", i + 1));
  a->kind = (mt_transform_kind)kind;
  if (kinds[kind].parse) {
    kinds[kind].parse(L, at, a);
  } else {
    a->normalize.channels = option_normalization(L, at, list->mean[i], list->std[i]);
    a->normalize.mean = list->mean[i];
    a->normalize.std = list->std[i];
  }
  lua_settop(L, at);
}

const mt_augmentation *mtl_check_steps(lua_State *L, int arg, int *count) {
  luaL_checktype(L, arg, LUA_TTABLE);
  const lua_Integer length = luaL_len(L, arg);
  if (length > MT_AUGMENT_MAX_STEPS)
    luaL_argerror(L, arg,
                  lua_pushfstring(L, "%I steps, expected at most %d", (LUAI_UACINT)length, MT_AUGMENT_MAX_STEPS));
  step_list *list = lua_newuserdatauv(L, sizeof *list, 0);
  memset(list, 0, sizeof *list);
  for (int i = 0; i < (int)length; i++) {
    lua_geti(L, arg, i + 1);
    parse_step(L, arg, list, i);
    lua_pop(L, 1);
  }
  *count = (int)length;
  return list->steps;
}

/*** Transforms each image at random, in the list's order. What happens to an image depends on (seed, epoch, its index,
the place of the step in the list) only. mt.data.augment is the convenient form of this function: it describes the
options, fills in defaults and checks.
@function image.augment
@tparam Tensor images float32 {B,H,W,C}
@tparam Tensor indices int32 {B}, positions in the data set
@tparam integer seed
@tparam integer epoch
@tparam table steps list of {kind, option = value, ...}
@treturn Tensor */
static int augment(lua_State *L) {
  const mt_tensor *images = mtl_check_tensor(L, 1), *indices = mtl_check_tensor(L, 2);
  const mt_augment_key key = {(uint64_t)mtl_check_integer(L, 3, INT64_MIN, INT64_MAX),
                              (uint64_t)mtl_check_integer(L, 4, 0, INT64_MAX)};
  int count;
  const mt_augmentation *steps = mtl_check_steps(L, 5, &count);
  mt_tensor *changed;
  MTL_NEW(L, changed, mt_augment(images, indices, key, steps, count));
  mtl_push_tensor(L, changed);
  return 1;
}

static const luaL_Reg functions[] = {
    {"flip", flip},
    {"affine", affine},
    {"crop", crop},
    {"resized_crop", resized_crop},
    {"adjust_color", adjust_color},
    {"normalize", normalize},
    {"augment", augment},
    {NULL, NULL},
};

void mtl_open_augment(lua_State *L) {
  luaL_getsubtable(L, -1, "image");
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
