/* mt.nn.*: the constructors of layers and containers; norms are in module_norms.c, activations in
 * module_activations.c. As in any table a name that is not there is nil, so that scripts can ask for it
 * (`mt.nn.Conv3d or ...`); calling it is Lua's own error, which names it ("field 'Conv3d'"). */
#include <string.h>

#include "lua/module.h"
#include "lua/windows.h"
#include "nn/layers.h"

#define MAX_KERNEL 1024

int mtl_return_module(lua_State *L, mt_module *m) {
  mtl_push_module(L, m);
  return 1;
}

int mtl_plain_layer(lua_State *L, mt_module *(*make)(void)) {
  mt_module *m;
  if (!lua_isnone(L, 1)) luaL_argerror(L, 1, "no argument expected");
  MTL_NEW(L, m, make());
  return mtl_return_module(L, m);
}

/* An integer or a table of two at an argument, as (height, width). */
static void check_pair(lua_State *L, int arg, int64_t pair[2]) {
  if (!lua_istable(L, arg)) {
    pair[0] = pair[1] = mtl_check_integer(L, arg, 1, MAX_KERNEL);
    return;
  }
  int64_t sizes[MT_MAX_DIMS];
  if (mtl_check_shape(L, arg, sizes) != 2) luaL_argerror(L, arg, "integer or a table of two expected");
  for (int i = 0; i < 2; i++) {
    if (sizes[i] < 1 || sizes[i] > MAX_KERNEL)
      luaL_argerror(L, arg,
                    lua_pushfstring(L, "integers in [1, %d] expected, got %I", MAX_KERNEL, (LUAI_UACINT)sizes[i]));
    pair[i] = sizes[i];
  }
}

/*** Layers and containers, with PyTorch's names, defaults and initialisation; images have their channels last.
@module nn */

/*** Convolution, {N,H,W,inputs} to {N,OH,OW,outputs}.
@function nn.Conv2d
@tparam integer inputs
@tparam integer outputs
@tparam integer|table kernel size, or {height, width}
@tparam[opt] table options `stride` (1) and `dilation` (1): a number or {height, width}; `groups` (1): channels are cut
into so many parts that do not see each other, the inputs themselves for a depthwise convolution; `bias` (true);
`padding` (0): a number, {height, width}, {top = , bottom = , left = , right = }, "valid" (none), "same" (PyTorch's: as
large as the input, for a stride of 1), or "same_upper" (TensorFlow's "SAME": ceil(size / stride)). What cannot be
shared out evenly goes below and to the right. Files have the weight as outputs, inputs / groups, height, width, memory
as height, width, inputs / groups, outputs.
@treturn Module */
static int conv2d(lua_State *L) {
  static const char *const known[] = {MTL_CONV2D_OPTIONS, "bias", NULL};
  const int64_t inputs = mtl_check_integer(L, 1, 1, MTL_MAX_SIZE), outputs = mtl_check_integer(L, 2, 1, MTL_MAX_SIZE);
  mt_conv2d_window window;
  check_pair(L, 3, window.kernel);
  mtl_check_options(L, 4, known);
  window.same = mtl_option_conv2d(L, 4, MAX_KERNEL, &window.params);
  const bool bias = mtl_option_boolean(L, 4, "bias", true);
  mt_module *m;
  MTL_NEW(L, m, mt_conv2d_new(inputs, outputs, window, bias));
  return mtl_return_module(L, m);
}

/*** Fully connected, {...,inputs} to {...,outputs}.
@function nn.Linear
@tparam integer inputs
@tparam integer outputs
@tparam[opt] table options `bias` (true)
@treturn Module */
static int linear(lua_State *L) {
  static const char *const known[] = {"bias", NULL};
  const int64_t inputs = mtl_check_integer(L, 1, 1, MTL_MAX_SIZE), outputs = mtl_check_integer(L, 2, 1, MTL_MAX_SIZE);
  mtl_check_options(L, 3, known);
  const bool bias = mtl_option_boolean(L, 3, "bias", true);
  mt_module *m;
  MTL_NEW(L, m, mt_linear_new(inputs, outputs, bias));
  return mtl_return_module(L, m);
}

/* The options start at the second argument. */
static mt_pool2d_params check_pool2d(lua_State *L, bool maximum) {
  static const char *const known[2][5] = {{MTL_POOL2D_OPTIONS, "count_include_pad", NULL},
                                          {MTL_POOL2D_OPTIONS, "dilation", NULL}};
  mt_pool2d_params p = {.ceil_mode = false};
  check_pair(L, 1, p.kernel);
  mtl_check_options(L, 2, known[maximum]);
  mtl_option_pool2d(L, 2, MAX_KERNEL, maximum, &p);
  return p;
}

/*** The largest value of each window.
@function nn.MaxPool2d
@tparam integer|table kernel size, or {height, width}
@tparam[opt] table options `stride` (the kernel), `padding` (0), `dilation` (1): a number or {height, width};
`ceil_mode` (false): windows that reach beyond the image count too
@treturn Module */
static int max_pool2d(lua_State *L) {
  const mt_pool2d_params p = check_pool2d(L, true);
  mt_module *m;
  MTL_NEW(L, m, mt_max_pool2d_new(p));
  return mtl_return_module(L, m);
}

/*** The mean of each window.
@function nn.AvgPool2d
@tparam integer|table kernel size, or {height, width}
@tparam[opt] table options `stride` (the kernel), `padding` (0): a number or {height, width}; `ceil_mode` (false) as for
MaxPool2d; `count_include_pad` (true): padding counts as zeros
@treturn Module */
static int avg_pool2d(lua_State *L) {
  const mt_pool2d_params p = check_pool2d(L, false);
  mt_module *m;
  MTL_NEW(L, m, mt_avg_pool2d_new(p));
  return mtl_return_module(L, m);
}

/*** The mean of each channel, {N,H,W,C} to {N,C}.
@function nn.GlobalAvgPool2d
@treturn Module */
static int global_avg_pool2d(lua_State *L) { return mtl_plain_layer(L, mt_global_avg_pool_new); }

/*** The mean of each channel over as many windows as the output has pixels, {N,H,W,C} to {N,height,width,C}, as PyTorch
cuts them.
@function nn.AdaptiveAvgPool2d
@tparam integer|table size of the output, or {height, width}; "input" for a size keeps the input's
@treturn Module */
static int adaptive_avg_pool2d(lua_State *L) {
  int64_t size[2];
  mtl_check_pool_size(L, 1, MTL_MAX_SIZE, size);
  mt_module *m;
  MTL_NEW(L, m, mt_adaptive_avg_pool2d_new(size));
  return mtl_return_module(L, m);
}

/*** The largest values instead of the means.
@function nn.AdaptiveMaxPool2d
@tparam integer|table size as for AdaptiveAvgPool2d
@treturn Module */
static int adaptive_max_pool2d(lua_State *L) {
  int64_t size[2];
  mtl_check_pool_size(L, 1, MTL_MAX_SIZE, size);
  mt_module *m;
  MTL_NEW(L, m, mt_adaptive_max_pool2d_new(size));
  return mtl_return_module(L, m);
}

/*** Zeros around images {N,H,W,C}.
@function nn.ZeroPad2d
@tparam integer|table padding a number for all sides, {left, right, top, bottom} as in PyTorch, or {top = , bottom = ,
left = , right = }
@treturn Module */
static int zero_pad2d(lua_State *L) {
  const mt_sides sides = mtl_check_zero_pad(L, 1, MAX_KERNEL);
  mt_module *m;
  MTL_NEW(L, m, mt_zero_pad2d_new(sides));
  return mtl_return_module(L, m);
}

/*** A row of a table for each index, {...} to {...,width}. Indices are int32 and count from 1: index i is PyTorch's
i - 1, and the rows stand in the same order in files.
@function nn.Embedding
@tparam integer rows
@tparam integer width
@tparam[opt] table options `padding_idx`: a row, counted from 1, that is zero at first and gets no gradient
@treturn Module */
static int embedding(lua_State *L) {
  static const char *const known[] = {"padding_idx", NULL};
  const int64_t rows = mtl_check_integer(L, 1, 1, INT32_MAX), width = mtl_check_integer(L, 2, 1, MTL_MAX_SIZE);
  mtl_check_options(L, 3, known);
  const int64_t padding = mtl_option_integer(L, 3, "padding_idx", 0, 1, rows);
  mt_module *m;
  MTL_NEW(L, m, mt_embedding_new(rows, width, padding));
  return mtl_return_module(L, m);
}

/*** {N,H,W,C} to {N,C*H*W}, in PyTorch's order.
@function nn.Flatten
@treturn Module */
static int flatten(lua_State *L) { return mtl_plain_layer(L, mt_flatten_new); }

/*** The input as it is.
@function nn.Identity
@treturn Module */
static int identity(lua_State *L) { return mtl_plain_layer(L, mt_identity_new); }

static int dropout_of(lua_State *L, mt_module *(*make)(double p)) {
  const double p = lua_isnoneornil(L, 1) ? 0.5 : mtl_check_number(L, 1);
  mt_module *m;
  if (!(p >= 0.0 && p <= 1.0)) luaL_argerror(L, 1, lua_pushfstring(L, "number in [0, 1] expected, got %f", p));
  MTL_NEW(L, m, make(p));
  return mtl_return_module(L, m);
}

/*** In training, zeroes each element with probability p and divides the others by 1 - p.
@function nn.Dropout
@tparam[opt=0.5] number p
@treturn Module */
static int dropout(lua_State *L) { return dropout_of(L, mt_dropout_new); }

/*** In training, zeroes each channel of each image of {N,H,W,C} (or each element of {N,C}) with probability p and
divides the others by 1 - p.
@function nn.Dropout2d
@tparam[opt=0.5] number p
@treturn Module */
static int dropout2d(lua_State *L) { return dropout_of(L, mt_dropout2d_new); }

/*** The shortcut without parameters of residual nets for small images (He et al. 2016, option A): {N,H,W,inputs} to
{N,ceil(H/stride),ceil(W/stride),outputs}, every stride-th pixel, (outputs - inputs) / 2 channels of zeros on each side.
@function nn.Shortcut
@tparam integer inputs
@tparam integer outputs
@tparam[opt] table options `stride` (1)
@treturn Module */
static int shortcut(lua_State *L) {
  static const char *const known[] = {"stride", NULL};
  const int64_t inputs = mtl_check_integer(L, 1, 1, MTL_MAX_SIZE), outputs = mtl_check_integer(L, 2, 1, MTL_MAX_SIZE);
  mtl_check_options(L, 3, known);
  const int64_t stride = mtl_option_integer(L, 3, "stride", 1, 1, MAX_KERNEL);
  mt_module *m;
  MTL_NEW(L, m, mt_shortcut_new(inputs, outputs, stride));
  return mtl_return_module(L, m);
}

/* ---- containers ---- */

/* Item i of the table at 1, a module or {name, module}, becomes a child of the module at 2. */
static void add_item(lua_State *L, lua_Integer i) {
  const char *name = NULL;
  lua_geti(L, 1, i);
  if (lua_istable(L, -1)) {
    if (lua_geti(L, -1, 1) == LUA_TSTRING) name = lua_tostring(L, -1);
    lua_geti(L, -2, 2);
    if (!name) lua_pushnil(L);
  } else {
    name = lua_pushfstring(L, "%I", (LUAI_UACINT)(i - 1));
    lua_pushvalue(L, -2);
  }
  if (!mtl_test_module(L, -1))
    luaL_argerror(
        L, 1,
        lua_pushfstring(L, "item %I: module or {name, module} expected, got %s", (LUAI_UACINT)i, luaL_typename(L, 3)));
  mtl_add_child(L, 2, name, -1);
  lua_settop(L, 2);
}

/* Keys of the table at 1 other than its items must be known options. */
static void check_keys(lua_State *L, const char *const known[]) {
  const lua_Integer n = luaL_len(L, 1);
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    if (lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 && lua_tointeger(L, -2) <= n) continue;
    int i = 0;
    if (lua_type(L, -2) != LUA_TSTRING) luaL_argerror(L, 1, "items 1, 2, ... without gaps expected");
    while (known[i] && strcmp(known[i], lua_tostring(L, -2)) != 0) i++;
    if (!known[i])
      luaL_argerror(L, 1,
                    lua_pushfstring(L, "unknown option '%s'; named modules are written {\"%s\", module}",
                                    lua_tostring(L, -2), lua_tostring(L, -2)));
  }
}

static void add_items(lua_State *L) {
  const lua_Integer n = luaL_len(L, 1);
  for (lua_Integer i = 1; i <= n; i++) add_item(L, i);
}

/*** One module after the other. Children are called "0", "1", ... or as they are named.
@function nn.Sequential
@tparam table modules items: a module, or {name, module}
@treturn Module */
static int sequential(lua_State *L) {
  static const char *const none[] = {NULL};
  mt_module *m;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  check_keys(L, none);
  MTL_NEW(L, m, mt_sequential_new());
  mtl_push_module(L, m);
  add_items(L);
  return 1;
}

/*** A residual block: the items one after the other, plus the shortcut, then a ReLU.
@function nn.Residual
@tparam table modules items as for Sequential; `downsample`: the module of the shortcut (default: the input as it is);
`relu` (true): whether a ReLU follows the addition
@treturn Module */
static int residual(lua_State *L) {
  static const char *const known[] = {MT_RESIDUAL_SHORTCUT, "relu", NULL};
  mt_module *m;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  check_keys(L, known);
  const bool relu_follows = mtl_option_boolean(L, 1, "relu", true);
  MTL_NEW(L, m, mt_residual_new(relu_follows));
  mtl_push_module(L, m);
  add_items(L);
  if (lua_getfield(L, 1, MT_RESIDUAL_SHORTCUT) == LUA_TNIL) {
    lua_pop(L, 1);
    return 1;
  }
  if (!mtl_test_module(L, -1)) mtl_option_error(L, 1, MT_RESIDUAL_SHORTCUT, "module");
  mtl_add_child(L, 2, MT_RESIDUAL_SHORTCUT, -1);
  lua_settop(L, 2);
  return 1;
}

const luaL_Reg mtl_module_constructors[] = {
    {"Conv2d", conv2d},
    {"Linear", linear},
    {"MaxPool2d", max_pool2d},
    {"AvgPool2d", avg_pool2d},
    {"GlobalAvgPool2d", global_avg_pool2d},
    {"AdaptiveAvgPool2d", adaptive_avg_pool2d},
    {"AdaptiveMaxPool2d", adaptive_max_pool2d},
    {"ZeroPad2d", zero_pad2d},
    {"Embedding", embedding},
    {"Flatten", flatten},
    {"Identity", identity},
    {"Dropout", dropout},
    {"Dropout2d", dropout2d},
    {"Shortcut", shortcut},
    {"Sequential", sequential},
    {"Residual", residual},
    {"Module", mtl_script_module},
    {NULL, NULL},
};
