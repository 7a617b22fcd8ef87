/* Images: PNG files, resizing, batches for a net, colour maps, drawing.
 *
 * Images are uint8 or float32 tensors with axes N,H,W,C; a canvas to draw in is uint8 {H,W,3}, its pixels counted from
 * 0: x to the right, y down. */
#include "image/colormap.h"
#include "image/draw.h"
#include "image/pixels.h"
#include "image/png.h"
#include "image/resize.h"
#include "image/values.h"
#include "io/file.h"
#include "lua/binding.h"

/* ---- files ---- */

static mt_tensor *read_png_file(const char *path, int channels) {
  mt_bytes bytes = {0};
  mt_tensor *image = NULL;
  if (mt_read_regular_file(path, SIZE_MAX, &bytes) == 0) image = mt_png_decode(bytes.data, bytes.size, channels, path);
  mt_bytes_free(&bytes);
  return image;
}

/*** Pictures: reading and writing, resizing, colour, drawing, random changes. uint8 {H,W,C}, or float32 in [0,1];
batches {N,H,W,C}.
@module image */

/*** Reads a PNG file. It is upright (EXIF); palettes are expanded, of 16-bit values the upper 8 bits are kept, images
with transparency get 4 channels. A file that lacks only its end is read.
@function image.read_png
@tparam string path
@tparam[opt] table options `channels` (1, 3 or 4: converted; default: as in the file). Gray is
0.299 R + 0.587 G + 0.114 B; alpha is dropped, or set to 255.
@treturn Tensor uint8 {H,W,C} */
static int read_png(lua_State *L) {
  static const char *const known[] = {"channels", NULL};
  const char *path = mtl_check_path(L, 1);
  mtl_check_options(L, 2, known);
  const int channels = (int)mtl_option_integer(L, 2, "channels", 0, 1, 4);
  if (channels == 2) luaL_argerror(L, 2, "option 'channels': 1, 3 or 4 expected, got 2");
  mt_tensor *image;
  MTL_NEW(L, image, read_png_file(path, channels));
  mtl_push_tensor(L, image);
  return 1;
}

/*** Writes a PNG file, which replaces an older one as a whole.
@function image.write_png
@tparam string path
@tparam Tensor image {H,W}, {H,W,1}, {H,W,3} or {H,W,4}, also as a batch of one {1,H,W,C}; uint8, or float32 in [0,1]
(clamped, rounded) */
static int write_png(lua_State *L) {
  const char *path = mtl_check_path(L, 1);
  const mt_tensor *image = mtl_check_tensor(L, 2);
  MTL_DO(L, mt_png_write(path, image));
  return 0;
}

/* ---- resizing and batches ---- */

/* Options 'mode' and 'antialias'. */
static mt_resize_mode option_mode(lua_State *L, int arg) {
  enum { BILINEAR, NEAREST, BICUBIC };
  static const char *const modes[] = {[BILINEAR] = "bilinear", [NEAREST] = "nearest", [BICUBIC] = "bicubic", NULL};
  const int mode = mtl_option_choice(L, arg, "mode", BILINEAR, modes);
  const bool antialias = mtl_option_boolean(L, arg, "antialias", false);
  luaL_argcheck(L, !antialias || mode != NEAREST, arg, "option 'antialias': not with mode 'nearest'");
  luaL_argcheck(L, antialias || mode != BICUBIC, arg, "option 'mode': 'bicubic' is there with antialias = true only");
  if (mode == NEAREST) return MT_RESIZE_NEAREST;
  if (!antialias) return MT_RESIZE_BILINEAR;
  return mode == BICUBIC ? MT_RESIZE_ANTIALIASED_BICUBIC : MT_RESIZE_ANTIALIASED_BILINEAR;
}

/*** Resizes images with PyTorch's conventions (align_corners=false).
@function image.resize
@tparam Tensor images {H,W}, {H,W,C} or {N,H,W,C}, float32 or uint8; {N,H,W} with `planes`
@tparam table options `size` (an integer or {height, width}, required), `mode` ("bilinear", "nearest"; with antialiasing
also "bicubic"), `antialias` (false; true: pixels are averaged where images shrink, as Pillow and torchvision do it),
`planes` (true: three axes are N,H,W, as of heatmaps and masks, not H,W,C)
@treturn Tensor of the same dtype */
static int resize(lua_State *L) {
  static const char *const known[] = {"size", "mode", "antialias", "planes", NULL};
  const mt_tensor *images = mtl_check_tensor(L, 1);
  int64_t size[2];
  luaL_checktype(L, 2, LUA_TTABLE);
  mtl_check_options(L, 2, known);
  luaL_argcheck(L, mtl_has_option(L, 2, "size"), 2, "option 'size': integer or {height, width} expected, got nil");
  mtl_option_pair(L, 2, "size", 0, 1, INT32_MAX, size);
  const mt_resize_mode mode = option_mode(L, 2);
  const bool planes = mtl_option_boolean(L, 2, "planes", false);
  const int axis = images->ndim == 4 || (images->ndim == 3 && planes) ? 1 : 0;
  mt_tensor *resized;
  MTL_NEW(L, resized, mt_resize(images, axis, size, mode));
  mtl_push_tensor(L, resized);
  return 1;
}

/* The table at arg as an int32 {B} tensor, pushed. */
static mt_tensor *push_indices(lua_State *L, int arg) {
  mt_tensor *indices;
  luaL_checktype(L, arg, LUA_TTABLE);
  const int64_t count = luaL_len(L, arg);
  MTL_NEW(L, indices, mt_tensor_new(MT_INT32, 1, &count));
  mtl_push_tensor(L, indices);
  for (int64_t i = 0; i < count; i++) {
    int exact = 0;
    const bool number = lua_geti(L, arg, i + 1) == LUA_TNUMBER;
    const lua_Integer value = lua_tointegerx(L, -1, &exact);
    if (!number || !exact || value < 1 || value > INT32_MAX)
      luaL_argerror(L, arg,
                    lua_pushfstring(L, "indices[%I]: integer >= 1 expected, got %s", (LUAI_UACINT)(i + 1),
                                    luaL_tolstring(L, -1, NULL)));
    mt_i32(indices)[i] = (int32_t)value;
    lua_pop(L, 1);
  }
  return indices;
}

/*** A batch for a net: chosen images as float32 in [0,1], each value divided by 255.
@function image.batch
@tparam Tensor images uint8 {N,H,W,C}
@tparam Tensor|{integer,...} indices which ones, counted from 1; int32 {B} or a table
@treturn Tensor float32 {B,H,W,C} */
static int batch(lua_State *L) {
  const mt_tensor *images = mtl_check_tensor(L, 1);
  const mt_tensor *indices = mtl_test_tensor(L, 2);
  if (!indices) indices = push_indices(L, 2);
  mt_tensor *images_of_batch;
  MTL_NEW(L, images_of_batch, mt_image_batch(images, indices));
  mtl_push_tensor(L, images_of_batch);
  return 1;
}

/*** Finds images that a net cannot take: the first that holds a NaN or an infinity. Quick: memory is read once.
@function image.first_bad
@tparam Tensor images {N,...}, of any dtype (only float32 can hold such values)
@treturn ?integer its place on the first axis, from 1; nil where all are finite */
static int first_bad(lua_State *L) {
  const mt_tensor *images = mtl_check_tensor(L, 1);
  luaL_argcheck(L, images->ndim >= 1, 1, "images {N,...} expected, got a scalar");
  const int64_t first = mt_first_bad(images);
  if (first < 0) return 0;
  lua_pushinteger(L, first + 1);
  return 1;
}

/*** The smallest and the largest value. NaN is passed over. Quick: memory is read once.
@function image.range
@tparam Tensor images float32 or uint8, of any shape
@treturn ?number smallest; nil where there is no value
@treturn ?number largest */
static int range(lua_State *L) {
  float values[2];
  const mt_tensor *images = mtl_check_tensor(L, 1);
  luaL_argcheck(L, images->dtype != MT_INT32, 1, "float32 or uint8 expected, got int32");
  if (!mt_value_range(images, values)) return 0;
  lua_pushnumber(L, values[0]);
  lua_pushnumber(L, values[1]);
  return 2;
}

/* ---- colour maps ---- */

static mt_colormap option_map(lua_State *L, int arg) {
  static const char *const maps[] = {
      [MT_COLORMAP_VIRIDIS] = "viridis", [MT_COLORMAP_TURBO] = "turbo", [MT_COLORMAP_GRAY] = "gray", NULL};
  return (mt_colormap)mtl_option_choice(L, arg, "map", MT_COLORMAP_VIRIDIS, maps);
}

/* Options 'low' and 'high', both or neither; NULL for neither. */
static const float *option_range(lua_State *L, int arg, float range[2]) {
  const bool low = mtl_has_option(L, arg, "low"), high = mtl_has_option(L, arg, "high");
  luaL_argcheck(L, low == high, arg, "options 'low' and 'high': both or neither expected");
  if (!low) return NULL;
  range[0] = (float)mtl_option_number(L, arg, "low", 0.0, -1e30, 1e30);
  range[1] = (float)mtl_option_number(L, arg, "high", 0.0, -1e30, 1e30);
  luaL_argcheck(L, range[0] < range[1], arg, "option 'high': number above 'low' expected");
  return range;
}

/*** Heatmaps as colours.
@function image.colormap
@tparam Tensor heat float32 {H,W} or {N,H,W}
@tparam[opt] table options `map` ("viridis", "turbo", "gray"), `low` and `high` (values at the map's ends; default:
each image's smallest and largest)
@treturn Tensor uint8 {H,W,3} or {N,H,W,3} */
static int colormap(lua_State *L) {
  static const char *const known[] = {"map", "low", "high", NULL};
  float range[2];
  const mt_tensor *heat = mtl_check_tensor(L, 1);
  mtl_check_options(L, 2, known);
  const mt_colormap map = option_map(L, 2);
  const float *given = option_range(L, 2, range);
  mt_tensor *colors;
  MTL_NEW(L, colors, mt_colorize(heat, map, given));
  mtl_push_tensor(L, colors);
  return 1;
}

/*** Images with their heatmaps over them; the heatmap is resized to the image.
@function image.overlay
@tparam Tensor image {H,W,C} or {N,H,W,C} with C 1 or 3; uint8, or float32 in [0,1] (clamped, rounded) as `batch` gives
@tparam Tensor heat float32 {h,w} or {N,h,w}
@tparam[opt] table options as for colormap, and `alpha` (0.5, the share of the heatmap's colours)
@treturn Tensor uint8 with 3 channels */
static int overlay(lua_State *L) {
  static const char *const known[] = {"map", "low", "high", "alpha", NULL};
  float range[2];
  mt_tensor *image = mtl_check_tensor(L, 1);
  const mt_tensor *heat = mtl_check_tensor(L, 2);
  mtl_check_options(L, 3, known);
  const mt_colormap map = option_map(L, 3);
  const float *given = option_range(L, 3, range);
  const float alpha = (float)mtl_option_number(L, 3, "alpha", 0.5, 0.0, 1.0);
  mt_tensor *mixed;
  MTL_NEW(L, mixed, mt_overlay(image, heat, alpha, map, given));
  mtl_push_tensor(L, mixed);
  return 1;
}

/* ---- drawing ---- */

static int64_t check_coordinate(lua_State *L, int arg) {
  return mtl_check_integer(L, arg, -MT_DRAW_LIMIT, MT_DRAW_LIMIT);
}

static int64_t opt_scale(lua_State *L, int arg) {
  return lua_isnoneornil(L, arg) ? 1 : mtl_check_integer(L, arg, 1, MT_DRAW_MAX_SCALE);
}

/* {r, g, b}, integers 0..255. */
static void check_color(lua_State *L, int arg, uint8_t color[3]) {
  bool valid = lua_istable(L, arg) && luaL_len(L, arg) == 3;
  for (int i = 0; valid && i < 3; i++) {
    int exact = 0;
    const bool number = lua_geti(L, arg, i + 1) == LUA_TNUMBER;
    const lua_Integer value = lua_tointegerx(L, -1, &exact);
    valid = number && exact && value >= 0 && value <= 255;
    color[i] = (uint8_t)value;
    lua_pop(L, 1);
  }
  luaL_argcheck(L, valid, arg, "color: table of three integers in [0, 255] expected");
}

/*** Fills a rectangle.
@function image.fill_rect
@tparam Tensor canvas uint8 {H,W,3}
@tparam integer x left
@tparam integer y top
@tparam integer width
@tparam integer height
@tparam {integer,integer,integer} color red, green, blue, 0 to 255 */
static int fill_rect(lua_State *L) {
  uint8_t color[3];
  mt_tensor *canvas = mtl_check_target(L, 1);
  const int64_t x = check_coordinate(L, 2), y = check_coordinate(L, 3);
  const int64_t width = mtl_check_integer(L, 4, 0, MT_DRAW_LIMIT), height = mtl_check_integer(L, 5, 0, MT_DRAW_LIMIT);
  check_color(L, 6, color);
  MTL_DO(L, mt_fill_rect(canvas, x, y, width, height, color));
  return 0;
}

/*** Draws a line, both ends included.
@function image.draw_line
@tparam Tensor canvas uint8 {H,W,3}
@tparam integer x0
@tparam integer y0
@tparam integer x1
@tparam integer y1
@tparam {integer,integer,integer} color
@tparam[opt=1] integer thickness side of the square pen, 1 to 64 */
static int draw_line(lua_State *L) {
  uint8_t color[3];
  mt_tensor *canvas = mtl_check_target(L, 1);
  const int64_t x0 = check_coordinate(L, 2), y0 = check_coordinate(L, 3);
  const int64_t x1 = check_coordinate(L, 4), y1 = check_coordinate(L, 5);
  check_color(L, 6, color);
  const int64_t thickness = opt_scale(L, 7);
  MTL_DO(L, mt_draw_line(canvas, x0, y0, x1, y1, thickness, color));
  return 0;
}

/*** Copies an image into the canvas, each pixel as a square of side `scale`.
@function image.paste
@tparam Tensor canvas uint8 {H,W,3}
@tparam Tensor image uint8 {H,W}, {H,W,1} or {H,W,3}
@tparam integer x left
@tparam integer y top
@tparam[opt=1] integer scale 1 to 64 */
static int paste(lua_State *L) {
  mt_tensor *canvas = mtl_check_target(L, 1);
  const mt_tensor *image = mtl_check_tensor(L, 2);
  const int64_t x = check_coordinate(L, 3), y = check_coordinate(L, 4);
  const int64_t scale = opt_scale(L, 5);
  MTL_DO(L, mt_paste(canvas, image, x, y, scale));
  return 0;
}

static const luaL_Reg functions[] = {
    {"read_png", read_png},   {"write_png", write_png}, {"resize", resize},     {"batch", batch},
    {"first_bad", first_bad}, {"range", range},         {"colormap", colormap}, {"overlay", overlay},
    {"fill_rect", fill_rect}, {"draw_line", draw_line}, {"paste", paste},       {NULL, NULL},
};

void mtl_open_image(lua_State *L) {
  luaL_getsubtable(L, -1, "image");
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
