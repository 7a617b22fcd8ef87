/* The parts of the tensor binding: each file contributes functions and methods that tensor.c registers. */
#ifndef MT_LUA_TENSOR_H
#define MT_LUA_TENSOR_H

#include "lua/binding.h"

/* tensor_create.c: zeros, rand, tensor, from_bytes ... */
extern const luaL_Reg mtl_tensor_creators[];
/* Pushes the values as nested tables; those of a tensor without axes as a number. */
void mtl_push_nested(lua_State *L, const mt_tensor *t);
/* Whether a number is a value of the type: for integer types a whole one in range. The check names argument arg. */
bool mtl_value_fits(mt_dtype dtype, double value);
void mtl_check_value(lua_State *L, int arg, mt_dtype dtype, double value);

/* tensor_autograd.c: grad, backward, no_grad ... */
extern const luaL_Reg mtl_tensor_autograd_methods[];
extern const luaL_Reg mtl_tensor_autograd_functions[];

/* tensor_arithmetic.c: + - * / ^, comparisons, exp, clamp, where ... */
extern const luaL_Reg mtl_tensor_operators[];
extern const luaL_Reg mtl_tensor_arithmetic_methods[];
extern const luaL_Reg mtl_tensor_arithmetic_functions[];

/* tensor_reduce.c: sum, max, softmax, matmul ... */
extern const luaL_Reg mtl_tensor_reduction_methods[];

/* tensor_shape.c: reshape, permute, slice, index, cat ... */
extern const luaL_Reg mtl_tensor_shape_methods[];
extern const luaL_Reg mtl_tensor_joining_functions[];
/* The value at stack index `index`, member number `member` of the list of axes that starts at arg, as 0-based. */
int mtl_check_listed_axis(lua_State *L, int arg, int member, int index, int ndim);

/* tensor_index.c: t[i], t[i] = v, fill, copy */
extern const luaL_Reg mtl_tensor_writing_methods[];
int mtl_tensor_index(lua_State *L);
int mtl_tensor_newindex(lua_State *L);

/* tensor_print.c */
int mtl_tensor_tostring(lua_State *L);

#endif
