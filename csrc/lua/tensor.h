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
/* f of the tensor that is argument 1. */
int mtl_apply_unary(lua_State *L, mt_tensor *(*f)(mt_tensor *t));

/* tensor_activation.c: sigmoid, gelu ..., as methods and as functions */
extern const luaL_Reg mtl_tensor_activations[];

/* tensor_reduce.c: sum, max, softmax, matmul ... */
extern const luaL_Reg mtl_tensor_reduction_methods[];
extern const luaL_Reg mtl_tensor_product_functions[];

/* One axis, a table of axes, or none or nil for all, as bits. */
unsigned mtl_check_axes(lua_State *L, int arg, const mt_tensor *t);

/* tensor_shape.c: reshape, permute, cat ... */
extern const luaL_Reg mtl_tensor_shape_methods[];
extern const luaL_Reg mtl_tensor_joining_functions[];
/* The value at stack index `index`, member number `member` of the list of axes that starts at arg, as 0-based. */
int mtl_check_listed_axis(lua_State *L, int arg, int member, int index, int ndim);

/* tensor_part.c: slice, narrow, index, flip */
extern const luaL_Reg mtl_tensor_part_methods[];
/* Pushes part of t or its elements in another order. Where the storage is not t's, in-place writes to it are refused
 * from now on, because they would look as if they changed t. Returns 1. */
int mtl_push_part(lua_State *L, mt_tensor *result, const mt_tensor *t, const char *method);
/* An int32 tensor's values as 0-based positions, in a userdata left on the stack. */
const int64_t *mtl_push_places(lua_State *L, const mt_tensor *list);

/* tensor_choice.c: sort, topk, gather, masked_select ... */
extern const luaL_Reg mtl_tensor_choice_methods[];

/* tensor_index.c: t[key], t[key] = v, fill, copy */
extern const luaL_Reg mtl_tensor_writing_methods[];
int mtl_tensor_index(lua_State *L);
int mtl_tensor_newindex(lua_State *L);

/* tensor_print.c */
int mtl_tensor_tostring(lua_State *L);

#endif
