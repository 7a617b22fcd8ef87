/* What every binding file uses: userdata of the core, argument checks, errors.
 *
 * Rules of the binding (the only code that includes lua.h):
 *  - check every argument first (checks raise Lua errors), then call the core, then push;
 *  - nothing that must be released is held across a call that can raise: push it, or check first;
 *  - core calls go through MTL_NEW / MTL_DO, which retry once after a collection when memory ran out
 *    and raise the core's message as a Lua error otherwise;
 *  - one file per userdata; its mtl_open_* adds the functions to the table on top of the stack. */
#ifndef MT_LUA_BINDING_H
#define MT_LUA_BINDING_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>
#include <lauxlib.h>

#include "core/random.h"
#include "core/tensor.h"

/* ---- errors (errors.c): the name a function was registered by, the line of the first caller that is not ours ---- */
void mtl_set_functions(lua_State *L, const luaL_Reg *functions, int upvalues);
void mtl_name_function(lua_State *L, const char *name); /* the function on top of the stack, which stays */
void mtl_push_place(lua_State *L);                      /* "script.lua:12: ", or "" */
int mtl_error(lua_State *L, const char *format, ...);
int mtl_argument_error(lua_State *L, int arg, const char *message);
int mtl_type_error(lua_State *L, int arg, const char *expected);
void mtl_check_type(lua_State *L, int arg, int type);
void mtl_check_any(lua_State *L, int arg);
void *mtl_check_userdata(lua_State *L, int arg, const char *class_name);
const char *mtl_check_lstring(lua_State *L, int arg, size_t *length);
const char *mtl_opt_lstring(lua_State *L, int arg, const char *fallback, size_t *length);

#ifndef MTL_OWN_ERRORS /* lauxlib's names mean these everywhere in the binding, so that no message can forget it */
#define luaL_setfuncs mtl_set_functions
#define luaL_error mtl_error
#define luaL_argerror mtl_argument_error
#define luaL_typeerror mtl_type_error
#define luaL_checktype mtl_check_type
#define luaL_checkany mtl_check_any
#define luaL_checkudata mtl_check_userdata
#define luaL_checklstring mtl_check_lstring
#define luaL_optlstring mtl_opt_lstring
#pragma GCC poison luaL_checkinteger luaL_checknumber luaL_checkoption luaL_optinteger luaL_optnumber luaL_where
#endif

int mtl_raise(lua_State *L);               /* raises the core's last error */
bool mtl_collect_for_memory(lua_State *L); /* true when the last error was MEMORY and a collection ran */
void mtl_pushed_memory(lua_State *L);      /* after pushing what holds native memory (core/memory.h) */

#define MTL_NEW(L, variable, expression)                                     \
  do {                                                                       \
    (variable) = (expression);                                               \
    if (!(variable) && mtl_collect_for_memory(L)) (variable) = (expression); \
    if (!(variable)) mtl_raise(L);                                           \
  } while (0)
#define MTL_DO(L, expression)                                                               \
  do {                                                                                      \
    if ((expression) < 0 && (!mtl_collect_for_memory(L) || (expression) < 0)) mtl_raise(L); \
  } while (0)

/* ---- userdata: a full userdata holding one pointer ---- */
#define MTL_TENSOR "masktune.Tensor"
#define MTL_GENERATOR "masktune.Generator"
#define MTL_MODULE "masktune.Module"
#define MTL_MASKS "masktune.Masks"

/* Pushes a new userdata of a class, which holds `object`. Raises, and releases the object, where the interpreter has no
 * memory for it. */
void mtl_push_owner(lua_State *L, void *object, void (*release)(void *), const char *class, int user_values);

/* Takes over the caller's reference. May run a garbage collection (core/memory.h). */
void mtl_push_tensor(lua_State *L, mt_tensor *t);
/* The same for a number's tensor, made for this call alone: no reason to collect, least of all before the result is
 * there. */
void mtl_push_operand(lua_State *L, mt_tensor *t);
/* Both, so that neither is lost where there is no memory for the other's userdata. */
void mtl_push_two_tensors(lua_State *L, mt_tensor *first, mt_tensor *second);
mt_tensor *mtl_check_tensor(lua_State *L, int arg);
/* One that is written to in place: refuses a copy of another tensor's part (core/tensor.h). */
mt_tensor *mtl_check_target(lua_State *L, int arg);
mt_tensor *mtl_test_tensor(lua_State *L, int arg); /* NULL when it is something else */
mt_tensor *mtl_opt_tensor(lua_State *L, int arg);  /* NULL for none or nil */

struct mt_masks *mtl_check_masks(lua_State *L, int arg);
struct mt_masks *mtl_test_masks(lua_State *L, int arg); /* NULL when it is something else */
void mtl_unpack_masks(lua_State *L, int arg);           /* the masks at arg become a tensor, one byte a pixel */
struct mt_row_file *mtl_check_row_file(lua_State *L, int arg);

struct mt_module *mtl_check_module(lua_State *L, int arg);
struct mt_module *mtl_test_module(lua_State *L, int arg);

/* ---- arguments ---- */
/* What the value at `index` is, for messages: its value where that is short, else its type. Left on the stack. */
const char *mtl_describe(lua_State *L, int index);
/* "bad argument #arg to 'f' (number in [lo, hi] expected, got ...)": integers refuse 1.5 and "3". */
int64_t mtl_check_integer(lua_State *L, int arg, int64_t lo, int64_t hi);
double mtl_check_number(lua_State *L, int arg);
bool mtl_check_boolean(lua_State *L, int arg);
mt_dtype mtl_check_dtype(lua_State *L, int arg);
/* A path: a string that is not empty and has no zero byte. */
const char *mtl_check_path(lua_State *L, int arg);
/* A shape as integers arg, arg+1, ... or as one table at arg. Returns the number of axes. */
int mtl_check_shape(lua_State *L, int arg, int64_t shape[MT_MAX_DIMS]);
/* An axis 1..ndim, or negative from the end, as 0-based. */
int mtl_check_axis(lua_State *L, int arg, int ndim);

/* ---- options: a table argument whose keys are all known ---- */
/* arg must be a table, none or nil; raises on a key that is not in `known` (NULL-terminated), listing them. */
void mtl_check_options(lua_State *L, int arg, const char *const known[]);
/* The same for a table inside argument arg, at stack index `table`; messages begin with `where`, "params[2]: ". */
void mtl_check_fields(lua_State *L, int table, int arg, const char *where, const char *const known[]);
/* Fields; a missing one gives the default. Messages: "bad argument #3 to 'conv2d'
 * (option 'stride': integer in [1, 64] expected, got 0)". */
bool mtl_has_option(lua_State *L, int arg, const char *name);
int64_t mtl_option_integer(lua_State *L, int arg, const char *name, int64_t fallback, int64_t lo, int64_t hi);
double mtl_option_number(lua_State *L, int arg, const char *name, double fallback, double lo, double hi);
bool mtl_option_boolean(lua_State *L, int arg, const char *name, bool fallback);
/* Index into `choices` (NULL-terminated). */
int mtl_option_choice(lua_State *L, int arg, const char *name, int fallback, const char *const choices[]);
const char *mtl_option_string(lua_State *L, int arg, const char *name, const char *fallback);
mt_tensor *mtl_option_tensor(lua_State *L, int arg, const char *name); /* NULL when missing */
/* An integer or a table of two: (height, width). */
void mtl_option_pair(lua_State *L, int arg, const char *name, int64_t fallback, int64_t lo, int64_t hi, int64_t out[2]);
/* {red, green, blue}, integers 0..255; false (and nothing set) when missing. */
bool mtl_option_color(lua_State *L, int arg, const char *name, uint8_t color[3]);
/* Raises "option 'name': <expected> expected, got <value on top of the stack>" for argument arg. */
int mtl_option_error(lua_State *L, int arg, const char *name, const char *expected);
/* A generator option; NULL (the default one) when missing. */
mt_rng *mtl_option_generator(lua_State *L, int arg, const char *name);

/* Makes a metatable `name` with __name, __index = methods, and `meta` functions. Pops nothing, leaves nothing. */
void mtl_new_class(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta);

/* ---- one per file ---- */
void mtl_open_tensor(lua_State *L);        /* tensor.c: creation, methods, operators */
void mtl_open_random(lua_State *L);        /* random.c: manual_seed, generator */
void mtl_open_functional(lua_State *L);    /* functional.c: conv2d, batch_norm, pooling on tensors */
void mtl_open_functional_nn(lua_State *L); /* functional_nn.c: linear, flatten, dropout, embedding on tensors */
void mtl_open_loss(lua_State *L);          /* loss.c: cross_entropy, nll_loss, bce_with_logits, mse_loss */
void mtl_open_operation(lua_State *L);     /* operation.c: op */
void mtl_open_module(lua_State *L);        /* module.c: nn.* */
void mtl_open_optim(lua_State *L);         /* optim.c: optim.* */
void mtl_open_cam(lua_State *L);           /* cam.c: capture, cam.* */
void mtl_open_explain(lua_State *L);       /* explain.c: mask.* */
void mtl_open_image(lua_State *L);         /* image.c: image.* */
void mtl_open_paint(lua_State *L);         /* paint.c: image.paint, image.draw_strokes */
void mtl_open_picture_files(lua_State *L); /* picture_files.c: image.read_jpeg, write_jpeg, read_files */
void mtl_open_image_grid(lua_State *L);    /* image_grid.c: image.grid, save_grid */
void mtl_open_augment(lua_State *L);       /* augment.c: image.affine ... augment */
void mtl_open_data(lua_State *L);          /* data.c: data.*, images that stay in files, batches made ahead */
void mtl_open_masks(lua_State *L);         /* masks.c: masks of one bit a pixel, files of rows */
void mtl_open_io(lua_State *L);            /* io.c: safetensors, gzip, atomic files */
void mtl_open_matfile(lua_State *L);       /* matfile.c: read_mat */
void mtl_open_world(lua_State *L);         /* world.c: dist.* */
void mtl_open_process(lua_State *L);       /* process.c: signals, locks */
void mtl_open_draw(lua_State *L);          /* draw.c: draw.sheet */
void mtl_open_server(lua_State *L);        /* server.c: live.serve */
void mtl_open_system(lua_State *L);        /* system.c: threads, memory, instruction set, clock, terminal */

#endif
