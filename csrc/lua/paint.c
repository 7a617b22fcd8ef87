/* What synthetic image data is drawn with. */
#include "image/paint.h"
#include "image/strokes.h"
#include "lua/binding.h"

/*** Grey images as colour images, the marked ones painted.
@function image.paint
@tparam Tensor images uint8 {N,H,W,1}
@tparam Tensor marked uint8 {N}, non-zero where an image is painted
@tparam table options `bias` ("square"; "background": pixels that are 0; "foreground": the others), `squares` (1:
top-left corner, 2: top-right as well), `size` (4, the squares' side), `color` (three integers, required)
@treturn Tensor uint8 {N,H,W,3} */
static int paint(lua_State *L) {
  static const char *const known[] = {"bias", "squares", "size", "color", NULL};
  static const char *const kinds[] = {"square", "background", "foreground", NULL};
  const mt_tensor *gray = mtl_check_tensor(L, 1), *marked = mtl_check_tensor(L, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  mtl_check_options(L, 3, known);
  mt_paint how = {.kind = (mt_paint_kind)mtl_option_choice(L, 3, "bias", MT_PAINT_SQUARES, kinds)};
  how.squares = (int)mtl_option_integer(L, 3, "squares", 1, 1, 2);
  how.size = mtl_option_integer(L, 3, "size", 4, 1, INT32_MAX);
  if (!mtl_option_color(L, 3, "color", how.color)) {
    lua_pushnil(L);
    return mtl_option_error(L, 3, "color", "table of three integers in [0, 255]");
  }
  mt_tensor *painted;
  MTL_NEW(L, painted, mt_paint_images(gray, marked, &how));
  mtl_push_tensor(L, painted);
  return 1;
}

/*** Draws line segments as smooth grey images.
@function image.draw_strokes
@tparam Tensor segments float32 {S,5}: x0, y0, x1, y1, radius in pixels
@tparam Tensor starts int32 {N+1}: image n has the segments starts[n] (counted from 0) up to the next start
@tparam integer height
@tparam integer width
@treturn Tensor uint8 {N,height,width,1}, 255 is ink */
static int draw_strokes(lua_State *L) {
  const mt_tensor *segments = mtl_check_tensor(L, 1), *starts = mtl_check_tensor(L, 2);
  const int64_t height = mtl_check_integer(L, 3, 1, INT32_MAX), width = mtl_check_integer(L, 4, 1, INT32_MAX);
  mt_tensor *images;
  MTL_NEW(L, images, mt_draw_strokes(segments, starts, height, width));
  mtl_push_tensor(L, images);
  return 1;
}

static const luaL_Reg functions[] = {{"paint", paint}, {"draw_strokes", draw_strokes}, {NULL, NULL}};

void mtl_open_paint(lua_State *L) {
  luaL_getsubtable(L, -1, "image");
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
