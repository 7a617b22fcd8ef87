/* Sheets (draw/sheet.h), as masktune.draw uses them: draw.sheet is there where Cairo is. */
#include <math.h>
#include <string.h>

#include "draw/sheet.h"
#include "lua/binding.h"

#ifdef MT_WITH_CAIRO
#define SHEET "masktune.Sheet"
#define PDF "masktune.SheetBytes"
#define FAR 1e6 /* what is farther away is no drawing */

static void release_sheet(void *sheet) { mt_sheet_free(sheet); }

static int collect_sheet(lua_State *L) {
  mt_sheet **slot = luaL_checkudata(L, 1, SHEET);
  mt_sheet_free(*slot);
  *slot = NULL;
  return 0;
}

static int collect_pdf(lua_State *L) {
  mt_bytes_free(luaL_checkudata(L, 1, PDF));
  return 0;
}

static mt_sheet *check_sheet(lua_State *L) {
  mt_sheet *sheet = *(mt_sheet **)luaL_checkudata(L, 1, SHEET);
  if (!sheet) luaL_argerror(L, 1, "the sheet was already released");
  return sheet;
}

static double check_length(lua_State *L, int arg) {
  const double value = mtl_check_number(L, arg);
  if (!(fabs(value) <= FAR)) luaL_argerror(L, arg, lua_pushfstring(L, "number in [-1e6, 1e6] expected, got %f", value));
  return value;
}

static uint32_t check_color(lua_State *L, int arg) { return (uint32_t)mtl_check_integer(L, arg, 0, 0xFFFFFF); }

/*** A white sheet to draw on.
@function draw.sheet
@tparam number width
@tparam number height
@tparam number scale pixels (of a PDF: points) to the unit
@tparam boolean as_pdf
@treturn Sheet */
static int new_sheet(lua_State *L) {
  const double width = check_length(L, 1), height = check_length(L, 2), scale = check_length(L, 3);
  const bool as_pdf = mtl_check_boolean(L, 4);
  mt_sheet *sheet;
  MTL_NEW(L, sheet, mt_sheet_new(width, height, scale, as_pdf));
  mtl_push_owner(L, sheet, release_sheet, SHEET, 0);
  return 1;
}

static int move(lua_State *L) {
  mt_sheet_move(check_sheet(L), check_length(L, 2), check_length(L, 3));
  return 0;
}

static int line(lua_State *L) {
  mt_sheet_line(check_sheet(L), check_length(L, 2), check_length(L, 3));
  return 0;
}

static int rectangle(lua_State *L) {
  mt_sheet_rectangle(check_sheet(L), check_length(L, 2), check_length(L, 3), check_length(L, 4), check_length(L, 5));
  return 0;
}

static int circle(lua_State *L) {
  mt_sheet_circle(check_sheet(L), check_length(L, 2), check_length(L, 3), check_length(L, 4));
  return 0;
}

static int stroke(lua_State *L) {
  mt_sheet *sheet = check_sheet(L);
  const uint32_t color = check_color(L, 2);
  const double width = check_length(L, 3);
  const double dash = lua_isnoneornil(L, 4) ? 0 : check_length(L, 4);
  const double gap = lua_isnoneornil(L, 5) ? 0 : check_length(L, 5);
  MTL_DO(L, mt_sheet_stroke(sheet, color, width, dash, gap));
  return 0;
}

static int fill(lua_State *L) {
  mt_sheet *sheet = check_sheet(L);
  const uint32_t color = check_color(L, 2);
  const double alpha = lua_isnoneornil(L, 3) ? 1 : check_length(L, 3);
  MTL_DO(L, mt_sheet_fill(sheet, color, alpha));
  return 0;
}

static int clip(lua_State *L) {
  MTL_DO(L, mt_sheet_clip(check_sheet(L)));
  return 0;
}

static int unclip(lua_State *L) {
  MTL_DO(L, mt_sheet_unclip(check_sheet(L)));
  return 0;
}

static int text(lua_State *L) {
  mt_sheet *sheet = check_sheet(L);
  const double x = check_length(L, 2), y = check_length(L, 3);
  const char *words = luaL_checkstring(L, 4);
  const mt_text_style style = {.size = check_length(L, 5),
                               .anchor = check_length(L, 7),
                               .color = check_color(L, 6),
                               .upwards = mtl_check_boolean(L, 8),
                               .bold = mtl_check_boolean(L, 9)};
  MTL_DO(L, mt_sheet_text(sheet, x, y, words, &style));
  return 0;
}

static int image(lua_State *L) {
  mt_sheet *sheet = check_sheet(L);
  const mt_tensor *pixels = mtl_check_tensor(L, 2);
  const double x = check_length(L, 3), y = check_length(L, 4);
  const double width = check_length(L, 5), height = check_length(L, 6);
  MTL_DO(L, mt_sheet_image(sheet, pixels, x, y, width, height));
  return 0;
}

static int pixels_of(lua_State *L) {
  mt_sheet *sheet = check_sheet(L);
  mt_tensor *pixels;
  MTL_NEW(L, pixels, mt_sheet_pixels(sheet));
  mtl_push_tensor(L, pixels);
  return 1;
}

static int pdf(lua_State *L) {
  mt_sheet *sheet = check_sheet(L);
  mt_bytes *bytes = lua_newuserdatauv(L, sizeof *bytes, 0);
  memset(bytes, 0, sizeof *bytes);
  luaL_setmetatable(L, PDF);
  MTL_DO(L, mt_sheet_pdf(sheet, bytes));
  lua_pushlstring(L, (const char *)bytes->data, bytes->size);
  mt_bytes_free(bytes);
  return 1;
}

static const luaL_Reg functions[] = {{"sheet", new_sheet}, {NULL, NULL}};
static const luaL_Reg methods[] = {
    {"move", move},     {"line", line},   {"rectangle", rectangle}, {"circle", circle},
    {"stroke", stroke}, {"fill", fill},   {"clip", clip},           {"unclip", unclip},
    {"text", text},     {"image", image}, {"pixels", pixels_of},    {"pdf", pdf},
    {NULL, NULL},
};
static const luaL_Reg sheet_meta[] = {{"__gc", collect_sheet}, {"__close", collect_sheet}, {NULL, NULL}};
static const luaL_Reg none[] = {{NULL, NULL}};
static const luaL_Reg pdf_meta[] = {{"__gc", collect_pdf}, {NULL, NULL}};

static void open_sheet(lua_State *L) {
  mtl_new_class(L, SHEET, methods, sheet_meta);
  mtl_new_class(L, PDF, none, pdf_meta);
  luaL_setfuncs(L, functions, 0);
}
#else
static void open_sheet(lua_State *L) { (void)L; }
#endif

void mtl_open_draw(lua_State *L) {
  lua_newtable(L);
  open_sheet(L);
  lua_setfield(L, -2, "draw");
}
