/* Many images in one picture. */
#include <string.h>

#include "image/draw.h"
#include "image/grid.h"
#include "image/jpeg.h"
#include "image/png.h"
#include "lua/binding.h"

#define MAX_COLUMNS 65536
#define MAX_PADDING 1024
#define JPEG_QUALITY 90

/* The grid of the images at arg with the options at arg + 1, pushed. */
static mt_tensor *push_grid(lua_State *L, int arg) {
  static const char *const known[] = {"columns", "padding", "scale", "background", NULL};
  mt_tensor *grid, *images = mtl_check_tensor(L, arg);
  mtl_check_options(L, arg + 1, known);
  mt_grid_layout layout = {.columns = mtl_option_integer(L, arg + 1, "columns", 8, 1, MAX_COLUMNS),
                           .padding = mtl_option_integer(L, arg + 1, "padding", 2, 0, MAX_PADDING),
                           .scale = mtl_option_integer(L, arg + 1, "scale", 1, 1, MT_DRAW_MAX_SCALE)};
  mtl_option_color(L, arg + 1, "background", layout.background);
  MTL_NEW(L, grid, mt_image_grid(images, &layout));
  mtl_push_tensor(L, grid);
  return grid;
}

/*** Images side by side, row by row, in one image.
@function image.grid
@tparam Tensor images {N,H,W,C} with C 1 or 3; uint8, or float32 in [0,1] (clamped, rounded)
@tparam[opt] table options `columns` (8), `padding` (2, pixels around and between the images), `scale` (1 to 64: the
side of the square that a pixel becomes), `background` ({0, 0, 0})
@treturn Tensor uint8 {H,W,3} */
static int make_grid(lua_State *L) {
  push_grid(L, 1);
  return 1;
}

static bool ends_in(const char *path, const char *ending) {
  const size_t size = strlen(path), length = strlen(ending);
  return size > length && strcmp(path + size - length, ending) == 0;
}

/*** Writes images side by side as one picture.
@function image.save_grid
@tparam string path ending in .png, .jpg or .jpeg
@tparam Tensor images as of grid
@tparam[opt] table options as of grid */
static int save_grid(lua_State *L) {
  const char *path = mtl_check_path(L, 1);
  const bool png = ends_in(path, ".png");
  if (!png && !ends_in(path, ".jpg") && !ends_in(path, ".jpeg"))
    return luaL_argerror(L, 1, lua_pushfstring(L, "path ending in .png, .jpg or .jpeg expected, got '%s'", path));
  const mt_tensor *grid = push_grid(L, 2);
  MTL_DO(L, png ? mt_png_write(path, grid) : mt_jpeg_write(path, grid, JPEG_QUALITY));
  return 0;
}

static const luaL_Reg functions[] = {{"grid", make_grid}, {"save_grid", save_grid}, {NULL, NULL}};

void mtl_open_image_grid(lua_State *L) {
  luaL_getsubtable(L, -1, "image");
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
