/* Capturing layers in a forward pass (capture), and the part of class activation maps that is in C (cam.*). */
#include "explain/cam.h"

#include <string.h>

#include "explain/principal.h"
#include "image/pixels.h"
#include "lua/module.h"
#include "nn/capture.h"

#define MAX_TAPS 4096

/* ---- capture ---- */

/* Pushes the images as the net gets them: float32, a leaf. */
static mt_tensor *push_images(lua_State *L, const mt_tensor *given, bool gradient) {
  char text[MT_SHAPE_TEXT];
  if (given->dtype == MT_INT32) luaL_argerror(L, 2, "float32 or uint8 images expected, got int32");
  if (given->ndim != 4)
    luaL_argerror(L, 2,
                  lua_pushfstring(L, "images {N,H,W,C} expected, got %s%s",
                                  mt_shape_text(given->ndim, given->shape, text), mt_image_hint(given)));
  mt_tensor *images;
  MTL_NEW(L, images, mt_image_range(given, 0, given->shape[0]));
  images->requires_grad = gradient;
  mtl_push_tensor(L, images);
  return images;
}

/* Pushes a table-valued option of the table at 3; 0 (and nothing pushed) when it is missing. */
static int push_table_option(lua_State *L, const char *name, const char *expected) {
  if (!mtl_has_option(L, 3, name)) return 0;
  if (lua_getfield(L, 3, name) != LUA_TTABLE) mtl_option_error(L, 3, name, expected);
  return lua_gettop(L);
}

/* Option 'replace' [name], a tensor; NULL: none. */
static mt_tensor *replacement_of(lua_State *L, int replace, const char *name) {
  if (!replace || lua_getfield(L, replace, name) == LUA_TNIL) return NULL;
  mt_tensor *t = mtl_test_tensor(L, -1);
  if (!t || t->dtype != MT_FLOAT32)
    luaL_argerror(L, 3, lua_pushfstring(L, "option 'replace': float32 tensor expected for layer '%s'", name));
  return t;
}

/* Pushes {name =, module =, replacement =} for the layer whose name is on top of the stack, popped. */
static void push_tap(lua_State *L, mt_module *model, int replace, mt_layer_tap *tap) {
  if (lua_type(L, -1) != LUA_TSTRING) luaL_argerror(L, 3, "option 'layers': list of names of layers expected");
  const int name = lua_gettop(L);
  lua_createtable(L, 0, 5);
  lua_pushvalue(L, name);
  lua_setfield(L, -2, "name");
  MTL_NEW(L, tap->module, mt_module_find(model, lua_tostring(L, name)));
  mtl_push_known_module(L, tap->module);
  lua_setfield(L, -2, "module");
  const int table = lua_gettop(L);
  tap->replacement = replacement_of(L, replace, lua_tostring(L, name));
  if (tap->replacement) lua_setfield(L, table, "replacement");
  lua_settop(L, table);
  lua_remove(L, name);
}

/* Raises where a name of 'replace' is not among the layers. */
static void check_replaced(lua_State *L, int replace, const mt_layer_tap *taps, lua_Integer count) {
  lua_Integer replaced = 0, named = 0;
  for (lua_Integer i = 0; i < count; i++) replaced += taps[i].replacement != NULL;
  for (lua_pushnil(L); lua_next(L, replace); lua_pop(L, 1)) named++;
  luaL_argcheck(L, replaced == named, 3, "option 'replace': values for layers that are among 'layers' expected");
}

/* Pushes the list of the layers' taps; their core parts are in a userdata pushed before it. */
static mt_capture push_taps(lua_State *L, mt_module *model, bool gradients) {
  const int layers = push_table_option(L, "layers", "list of names of layers");
  const int replace = push_table_option(L, "replace", "table of tensors by layer");
  const lua_Integer count = layers ? luaL_len(L, layers) : 0;
  luaL_argcheck(L, count >= 0 && count <= MAX_TAPS, 3, "option 'layers': at most 4096 layers expected");
  mt_layer_tap *taps = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof *taps, 0);
  memset(taps, 0, ((size_t)count + 1) * sizeof *taps);
  lua_createtable(L, (int)count, 1);
  const int list = lua_gettop(L);
  for (lua_Integer i = 0; i < count; i++) {
    lua_geti(L, layers, i + 1);
    push_tap(L, model, replace, &taps[i]);
    lua_seti(L, list, i + 1);
    for (lua_Integer j = 0; j < i; j++)
      luaL_argcheck(L, taps[i].module != taps[j].module, 3, "option 'layers': the same module stands there twice");
  }
  if (replace) check_replaced(L, replace, taps, count);
  return (mt_capture){.taps = taps, .count = (int)count, .gradients = gradients};
}

static mt_tensor *forward(lua_State *L, mt_capture *capture, mt_module *model, mt_tensor *images) {
  mtl_forget_script_error(L);
  mt_tensor *output = mt_capture_forward(capture, model, images);
  if (!output && mtl_collect_for_memory(L)) output = mt_capture_forward(capture, model, images);
  if (output) return output;
  mtl_raise_script_error(L);
  mtl_raise(L);
  return NULL;
}

/* The taps' values into the tables of the list on top of the stack. */
static void set_values(lua_State *L, const mt_capture *capture) {
  for (int i = 0; i < capture->count; i++) {
    const mt_layer_tap *tap = &capture->taps[i];
    lua_geti(L, -1, i + 1);
    lua_pushinteger(L, tap->runs);
    lua_setfield(L, -2, "runs");
    if (tap->value) {
      mtl_push_tensor(L, tap->value);
      lua_setfield(L, -2, "value");
    }
    lua_pop(L, 1);
  }
}

/*** Runs a net in eval mode with taps on any number of its layers: what they give, the gradients there, and other
values in their places. The net is in the modes it had afterwards; nothing is recorded below the earliest tap and never
anything for parameters.
@function capture
@tparam Module model
@tparam Tensor images {N,H,W,C}, float32 or uint8 (divided by 255)
@tparam[opt] table options `layers` (list of dotted names), `gradients` (true: a backward pass will follow), `input`
(false; true: the gradient of the images is wanted too), `replace` (name of a layer in `layers` -> float32 tensor of its
output's shape, which goes on in the output's place; with one such layer alone, one image serves for any number of
values)
@treturn Tensor what the model gives; after `output:backward(gradient)` each tap's gradient is `tap.value:grad()`
@treturn table list of taps in the layers' order, each `{name =, module =, value =, runs =, replacement =}`: `value` is
what the module gave when it first ran (nil: it did not run), `runs` how often it ran. Field `input`: the images as the
net got them, with their gradient if wanted
@usage local logits, taps = mt.capture(model, images, {layers = {"layer2.0", "layer3.2"}})
logits:backward(mt.ones(logits:shape()))
print(taps[1].value, taps[1].value:grad()) */
static int capture(lua_State *L) {
  static const char *const known[] = {"layers", "gradients", "input", "replace", NULL};
  mt_module *model = mtl_check_tree(L, 1);
  const mt_tensor *given = mtl_check_tensor(L, 2);
  lua_settop(L, 3);
  if (lua_isnil(L, 3)) {
    lua_newtable(L);
    lua_replace(L, 3);
  }
  mtl_check_options(L, 3, known);
  const bool gradients = mtl_option_boolean(L, 3, "gradients", true), input = mtl_option_boolean(L, 3, "input", false);
  mt_tensor *images = push_images(L, given, input && gradients);
  const int images_at = lua_gettop(L);
  mt_capture taps = push_taps(L, model, gradients);
  const int list = lua_gettop(L);
  lua_pushvalue(L, images_at);
  lua_setfield(L, list, "input");
  mtl_push_tensor(L, forward(L, &taps, model, images));
  lua_pushvalue(L, list);
  set_values(L, &taps);
  return 2;
}

/* ---- cam ---- */

/* Option 'target': an integer, an int32 tensor, or nothing. */
static void option_target(lua_State *L, int arg, mt_cam_options *options) {
  if (!mtl_has_option(L, arg, "target")) return;
  lua_getfield(L, arg, "target");
  const bool is_number = lua_type(L, -1) == LUA_TNUMBER;
  lua_pop(L, 1);
  if (is_number)
    options->target = mtl_option_integer(L, arg, "target", 0, 1, INT32_MAX);
  else
    options->targets = mtl_option_tensor(L, arg, "target");
}

static const mt_cam_method *method_of(lua_State *L) { return lua_touserdata(L, lua_upvalueindex(1)); }

/* cam.xgradcam and cam.gradcam: a net's heatmaps, batch after batch, as masktune.cam documents them: (model, images,
 * {layer =, target =, batch =}) -> heat {N,h,w}, predicted {N}. */
static int cam(lua_State *L) {
  static const char *const known[] = {"layer", "target", "batch", NULL};
  mt_module *model = mtl_check_tree(L, 1);
  const mt_tensor *images = mtl_check_tensor(L, 2);
  mt_cam_options options = {0};
  mt_tensor *heat = NULL, *predicted = NULL;
  luaL_checktype(L, 3, LUA_TTABLE);
  mtl_check_options(L, 3, known);
  options.layer = mtl_option_string(L, 3, "layer", NULL);
  luaL_argcheck(L, options.layer, 3, "option 'layer': name of a layer expected, got nil");
  option_target(L, 3, &options);
  options.batch = mtl_option_integer(L, 3, "batch", 0, 1, INT32_MAX);
  MTL_DO(L, mt_cam(method_of(L), model, images, &options, &heat, &predicted));
  mtl_push_two_tensors(L, heat, predicted);
  return 2;
}

/* cam.rules.xgradcam and cam.rules.gradcam: (value, gradient), both float32 {N,h,w,C} -> heat {N,h,w} >= 0. */
static int rule(lua_State *L) {
  const mt_tensor *value = mtl_check_tensor(L, 1), *gradient = mtl_check_tensor(L, 2);
  mt_tensor *heat;
  MTL_NEW(L, heat, mt_cam_heat(method_of(L), value, gradient));
  mtl_push_tensor(L, heat);
  return 1;
}

/* cam.principal: float32 {N,h,w,C} -> {N,h,w}, each image's pixels along their first principal component. */
static int principal(lua_State *L) {
  const mt_tensor *values = mtl_check_tensor(L, 1);
  mt_tensor *projection;
  MTL_NEW(L, projection, mt_principal_projection(values));
  mtl_push_tensor(L, projection);
  return 1;
}

/* Fills the table on top of the stack with one closure for each method. */
static void set_methods(lua_State *L, lua_CFunction f) {
  for (const mt_cam_method *method = mt_cam_methods; method->name; method++) {
    lua_pushlightuserdata(L, (void *)(uintptr_t)method);
    lua_pushcclosure(L, f, 1);
    lua_setfield(L, -2, method->name);
  }
}

void mtl_open_cam(lua_State *L) {
  lua_pushcfunction(L, capture);
  lua_setfield(L, -2, "capture");
  luaL_getsubtable(L, -1, "cam");
  set_methods(L, cam);
  lua_pushcfunction(L, principal);
  lua_setfield(L, -2, "principal");
  luaL_getsubtable(L, -1, "rules");
  set_methods(L, rule);
  lua_pop(L, 2);
}
