/* mt.nn.*: the constructors of layers and containers. */
#include <string.h>

#include "lua/module.h"
#include "lua/windows.h"
#include "nn/layers.h"

#define MAX_SIZE ((int64_t)1 << 30)
#define MAX_KERNEL 1024

static int push_new(lua_State *L, mt_module *m) {
  mtl_push_module(L, m);
  return 1;
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
  const int64_t inputs = mtl_check_integer(L, 1, 1, MAX_SIZE), outputs = mtl_check_integer(L, 2, 1, MAX_SIZE);
  mt_conv2d_window window;
  check_pair(L, 3, window.kernel);
  mtl_check_options(L, 4, known);
  window.same = mtl_option_conv2d(L, 4, MAX_KERNEL, &window.params);
  const bool bias = mtl_option_boolean(L, 4, "bias", true);
  mt_module *m;
  MTL_NEW(L, m, mt_conv2d_new(inputs, outputs, window, bias));
  return push_new(L, m);
}

static int batch_norm(lua_State *L, mt_module *(*make)(int64_t channels, double eps, double momentum)) {
  static const char *const known[] = {"eps", "momentum", NULL};
  const int64_t channels = mtl_check_integer(L, 1, 1, MAX_SIZE);
  mtl_check_options(L, 2, known);
  const double eps = mtl_option_number(L, 2, "eps", 1e-5, 0.0, 1.0);
  const double momentum = mtl_option_number(L, 2, "momentum", 0.1, 0.0, 1.0);
  mt_module *m;
  MTL_NEW(L, m, make(channels, eps, momentum));
  return push_new(L, m);
}

/*** Batch normalisation of {N,C}.
@function nn.BatchNorm1d
@tparam integer channels
@tparam[opt] table options `eps` (1e-5), `momentum` (0.1)
@treturn Module */
static int batch_norm1d(lua_State *L) { return batch_norm(L, mt_batch_norm1d_new); }

/*** Batch normalisation of {N,H,W,C}.
@function nn.BatchNorm2d
@tparam integer channels
@tparam[opt] table options `eps` (1e-5), `momentum` (0.1)
@treturn Module */
static int batch_norm2d(lua_State *L) { return batch_norm(L, mt_batch_norm2d_new); }

/*** Fully connected, {...,inputs} to {...,outputs}.
@function nn.Linear
@tparam integer inputs
@tparam integer outputs
@tparam[opt] table options `bias` (true)
@treturn Module */
static int linear(lua_State *L) {
  static const char *const known[] = {"bias", NULL};
  const int64_t inputs = mtl_check_integer(L, 1, 1, MAX_SIZE), outputs = mtl_check_integer(L, 2, 1, MAX_SIZE);
  mtl_check_options(L, 3, known);
  const bool bias = mtl_option_boolean(L, 3, "bias", true);
  mt_module *m;
  MTL_NEW(L, m, mt_linear_new(inputs, outputs, bias));
  return push_new(L, m);
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
  return push_new(L, m);
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
  return push_new(L, m);
}

static int simple(lua_State *L, mt_module *(*make)(void)) {
  mt_module *m;
  if (!lua_isnone(L, 1)) luaL_argerror(L, 1, "no argument expected");
  MTL_NEW(L, m, make());
  return push_new(L, m);
}

/*** The mean of each channel, {N,H,W,C} to {N,C}.
@function nn.GlobalAvgPool2d
@treturn Module */
static int global_avg_pool2d(lua_State *L) { return simple(L, mt_global_avg_pool_new); }

/*** max(0, x).
@function nn.ReLU
@treturn Module */
static int relu(lua_State *L) { return simple(L, mt_relu_new); }

/*** {N,H,W,C} to {N,C*H*W}, in PyTorch's order.
@function nn.Flatten
@treturn Module */
static int flatten(lua_State *L) { return simple(L, mt_flatten_new); }

/*** The input as it is.
@function nn.Identity
@treturn Module */
static int identity(lua_State *L) { return simple(L, mt_identity_new); }

static int dropout_of(lua_State *L, mt_module *(*make)(double p)) {
  const double p = lua_isnoneornil(L, 1) ? 0.5 : mtl_check_number(L, 1);
  mt_module *m;
  if (!(p >= 0.0 && p <= 1.0)) luaL_argerror(L, 1, lua_pushfstring(L, "number in [0, 1] expected, got %f", p));
  MTL_NEW(L, m, make(p));
  return push_new(L, m);
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
  const int64_t inputs = mtl_check_integer(L, 1, 1, MAX_SIZE), outputs = mtl_check_integer(L, 2, 1, MAX_SIZE);
  mtl_check_options(L, 3, known);
  const int64_t stride = mtl_option_integer(L, 3, "stride", 1, 1, MAX_KERNEL);
  mt_module *m;
  MTL_NEW(L, m, mt_shortcut_new(inputs, outputs, stride));
  return push_new(L, m);
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
    {"BatchNorm1d", batch_norm1d},
    {"BatchNorm2d", batch_norm2d},
    {"Linear", linear},
    {"MaxPool2d", max_pool2d},
    {"AvgPool2d", avg_pool2d},
    {"GlobalAvgPool2d", global_avg_pool2d},
    {"ReLU", relu},
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
