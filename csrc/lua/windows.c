#include "lua/windows.h"

#include <string.h>

/* ---- sides ---- */

static int sides_error(lua_State *L, int arg, const char *name, const char *problem) {
  const char *text =
      lua_pushfstring(L, "{top = , bottom = , left = , right = } with integers >= 0 expected, %s", problem);
  return luaL_argerror(L, arg, name ? lua_pushfstring(L, "option '%s': %s", name, text) : text);
}

mt_sides mtl_check_sides(lua_State *L, int arg, const char *name, int64_t largest) {
  static const char *const names[] = {"top", "bottom", "left", "right"};
  int64_t sides[4] = {0};
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    int i = 0, exact = 0;
    while (i < 4 && (lua_type(L, -2) != LUA_TSTRING || strcmp(names[i], lua_tostring(L, -2)) != 0)) i++;
    if (i == 4) {
      sides_error(L, arg, name, lua_pushfstring(L, "got a field %s", mtl_describe(L, -2)));
    }
    sides[i] = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &exact) : 0;
    if (!exact || sides[i] < 0 || sides[i] > largest)
      sides_error(L, arg, name, lua_pushfstring(L, "got %s = %s", names[i], mtl_describe(L, -1)));
  }
  return (mt_sides){sides[0], sides[1], sides[2], sides[3]};
}

static bool is_list(lua_State *L, int index) { return lua_rawlen(L, index) > 0; }

mt_sides mtl_check_zero_pad(lua_State *L, int arg, int64_t largest) {
  lua_settop(L, arg);
  if (!lua_istable(L, arg)) {
    const int64_t all = mtl_check_integer(L, arg, 0, largest);
    return (mt_sides){all, all, all, all};
  }
  if (!is_list(L, arg)) return mtl_check_sides(L, arg, NULL, largest);
  int64_t sides[MT_MAX_DIMS];
  bool valid = mtl_check_shape(L, arg, sides) == 4;
  for (int i = 0; valid && i < 4; i++) valid = sides[i] <= largest;
  if (!valid)
    luaL_argerror(L, arg, "integer, {left, right, top, bottom} or {top = , bottom = , left = , right = } expected");
  return (mt_sides){.left = sides[0], .right = sides[1], .top = sides[2], .bottom = sides[3]};
}

/* ---- convolution ---- */

/* padding = "same", "same_upper" or "valid". True: it follows from the input. */
static bool named_padding(lua_State *L, int arg, const mt_conv2d_params *p) {
  static const char *const names[] = {"same", "same_upper", "valid", NULL};
  enum { SAME, SAME_UPPER, VALID };
  const int which = mtl_option_choice(L, arg, "padding", VALID, names);
  if (which == SAME && (p->stride[0] > 1 || p->stride[1] > 1))
    luaL_argerror(
        L, arg,
        "option 'padding': \"same\" is for a stride of 1, as in PyTorch; TensorFlow's rule for larger ones is "
        "\"same_upper\"");
  return which != VALID;
}

bool mtl_option_conv2d(lua_State *L, int arg, int64_t largest, mt_conv2d_params *p) {
  *p = (mt_conv2d_params){.stride = {1, 1}, .dilation = {1, 1}, .groups = 1};
  mtl_option_pair(L, arg, "stride", 1, 1, largest, p->stride);
  mtl_option_pair(L, arg, "dilation", 1, 1, largest, p->dilation);
  p->groups = mtl_option_integer(L, arg, "groups", 1, 1, INT32_MAX);
  if (!mtl_has_option(L, arg, "padding")) return false;
  const int type = lua_getfield(L, arg, "padding");
  const bool by_sides = type == LUA_TTABLE && !is_list(L, -1);
  if (by_sides) {
    const mt_sides sides = mtl_check_sides(L, arg, "padding", largest);
    p->padding[0] = sides.top;
    p->padding[1] = sides.left;
    p->surplus[0] = sides.bottom - sides.top;
    p->surplus[1] = sides.right - sides.left;
  }
  lua_pop(L, 1);
  if (type == LUA_TSTRING) return named_padding(L, arg, p);
  if (!by_sides) mtl_option_pair(L, arg, "padding", 0, 0, largest, p->padding);
  return false;
}

/* ---- pooling ---- */

void mtl_option_pool2d(lua_State *L, int arg, int64_t largest, bool maximum, mt_pool2d_params *p) {
  for (int i = 0; i < 2; i++) {
    p->stride[i] = p->kernel[i];
    p->dilation[i] = 1;
  }
  if (mtl_has_option(L, arg, "stride")) mtl_option_pair(L, arg, "stride", 1, 1, largest, p->stride);
  mtl_option_pair(L, arg, "padding", 0, 0, largest, p->padding);
  p->ceil_mode = mtl_option_boolean(L, arg, "ceil_mode", false);
  if (maximum)
    mtl_option_pair(L, arg, "dilation", 1, 1, largest, p->dilation);
  else
    p->ignore_pad = !mtl_option_boolean(L, arg, "count_include_pad", true);
}

static int64_t pool_size(lua_State *L, int arg, int index, int64_t largest) {
  int exact = 0;
  if (lua_type(L, index) == LUA_TSTRING && strcmp(lua_tostring(L, index), "input") == 0) return 0;
  const int64_t size = lua_type(L, index) == LUA_TNUMBER ? lua_tointegerx(L, index, &exact) : 0;
  if (exact && size >= 1 && size <= largest) return size;
  return luaL_argerror(L, arg,
                       lua_pushfstring(L, "integer in [1, %I] or \"input\", or two of them, expected, got %s",
                                       (LUAI_UACINT)largest, mtl_describe(L, index)));
}

void mtl_check_pool_size(lua_State *L, int arg, int64_t largest, int64_t size[2]) {
  if (!lua_istable(L, arg)) {
    size[0] = size[1] = pool_size(L, arg, arg, largest);
    return;
  }
  if (lua_rawlen(L, arg) != 2) luaL_argerror(L, arg, "{height, width} expected");
  for (int i = 0; i < 2; i++) {
    lua_rawgeti(L, arg, i + 1);
    size[i] = pool_size(L, arg, lua_gettop(L), largest);
    lua_pop(L, 1);
  }
}
