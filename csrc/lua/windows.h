/* The options of windows that slide over images, for layers (module_layers.c) and functions (functional.c) alike. */
#ifndef MT_LUA_WINDOWS_H
#define MT_LUA_WINDOWS_H

#include "lua/binding.h"
#include "ops/conv2d.h"
#include "ops/pool.h"
#include "ops/zero_pad.h"

/* Names of the options that the two functions below read, for lists of known options. */
#define MTL_CONV2D_OPTIONS "stride", "padding", "dilation", "groups"
#define MTL_POOL2D_OPTIONS "stride", "padding", "ceil_mode"

/* From the table at arg; sizes are at most `largest`. True: padding follows from the input (mt_conv2d_pad_same). */
bool mtl_option_conv2d(lua_State *L, int arg, int64_t largest, mt_conv2d_params *p);
/* p->kernel is set already; where a maximum is taken there is `dilation`, for a mean `count_include_pad`. */
void mtl_option_pool2d(lua_State *L, int arg, int64_t largest, bool maximum, mt_pool2d_params *p);
/* The four sides {top = , bottom = , left = , right = } (missing: 0) of the table on top of the stack, which is the
 * option `name` of argument arg, or with a NULL name the argument itself. */
mt_sides mtl_check_sides(lua_State *L, int arg, const char *name, int64_t largest);
/* The argument of ZeroPad2d: such a table, a number for all sides, or {left, right, top, bottom}. */
mt_sides mtl_check_zero_pad(lua_State *L, int arg, int64_t largest);
/* A size of the output for adaptive pooling: a number, or {height, width}; "input" for the input's own becomes 0. */
void mtl_check_pool_size(lua_State *L, int arg, int64_t largest, int64_t size[2]);

#endif
