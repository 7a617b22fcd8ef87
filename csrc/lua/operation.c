/* mt.op: differentiable operations written in Lua.
 *
 * What an operation is (its name, for messages) is counted, because a node of the graph may outlive the Lua function
 * that made it. A node keeps the context of its call in the registry, and lets go of it as soon as backward has run:
 * then the graph cannot be walked again. The context never leads back to the node, because the result that scripts see
 * is not the tensor that forward returned but another one over the same values. */
#include <stdlib.h>
#include <string.h>

#include "autograd/tape.h"
#include "lua/binding.h"

#define OPERATION "masktune.Operation"
#define CONTEXT "masktune.Context"

typedef struct {
  mt_op op; /* first: a node's op pointer is a pointer to the whole */
  int refs;
  char name[];
} operation;

/* An argument that is a tensor. */
typedef struct {
  int argument; /* counted from 1 */
  int ndim;
  int64_t shape[MT_MAX_DIMS];
} tensor_argument;

/* One call, as its node knows it. */
typedef struct {
  operation *operation;
  lua_State *L; /* the main thread: it outlives all others */
  int context;  /* in the registry; LUA_NOREF after backward */
  int n_arguments, n_tensors;
  tensor_argument tensors[];
} call_record;

static const char backward_key; /* its address: where a context keeps the backward function */

static void release_operation(operation *o) {
  if (o && --o->refs == 0) free(o);
}

static void let_go_of_context(call_record *record) {
  if (record->context == LUA_NOREF || !lua_checkstack(record->L, 4)) return;
  luaL_unref(record->L, LUA_REGISTRYINDEX, record->context);
  record->context = LUA_NOREF;
}

static void destroy_record(void *context) { let_go_of_context(context); }

static void release_of_node(const void *op) { release_operation((operation *)(uintptr_t)op); }

/* ---- backward ---- */

typedef struct {
  mt_node *node;
  mt_tensor *grad_output;
  mt_tensor **grads;
} backward_call;

/* The saved tensors become context.saved; the context is at stack index `context`. */
static void push_saved(lua_State *L, int context, const mt_node *node) {
  lua_createtable(L, node->n_saved, 0);
  for (int i = 0; i < node->n_saved; i++) {
    mtl_push_tensor(L, mt_retain(node->saved[i]));
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, context, "saved");
}

/* The gradient as a tensor that may be written to: nobody else sees it. */
static void push_own_gradient(lua_State *L, mt_tensor *gradient) {
  mt_tensor *own = gradient;
  if (gradient->refs > 1 || gradient->storage->refs > 1 || gradient->storage->copied_by)
    MTL_NEW(L, own, mt_tensor_copy(gradient));
  else
    mt_retain(own);
  mtl_push_tensor(L, own);
}

/* The gradient at stack index `index` for tensor number i of the call, or NULL for nil. */
static mt_tensor *check_gradient(lua_State *L, int index, const tensor_argument *argument) {
  char got[MT_SHAPE_TEXT], wanted[MT_SHAPE_TEXT];
  mt_tensor *result, *gradient = mtl_test_tensor(L, index);
  if (lua_isnil(L, index)) return NULL;
  mt_shape_text(argument->ndim, argument->shape, wanted);
  if (!gradient)
    luaL_error(L, "the gradient for argument %d is a %s, expected a tensor %s or nil", argument->argument,
               luaL_typename(L, index), wanted);
  if (gradient->dtype != MT_FLOAT32 || gradient->ndim != argument->ndim ||
      memcmp(gradient->shape, argument->shape, (size_t)gradient->ndim * sizeof gradient->shape[0]) != 0)
    luaL_error(L, "the gradient for argument %d is %s %s, expected float32 %s", argument->argument,
               mt_dtype_name(gradient->dtype), mt_shape_text(gradient->ndim, gradient->shape, got), wanted);
  MTL_NEW(L, result, mt_tensor_detach(gradient));
  return result;
}

/* What backward returned at stack indices first, first + 1, ..., into grads. Trailing arguments that are no tensors
 * need no nil. */
static void take_gradients(lua_State *L, int first, backward_call *call) {
  const call_record *record = call->node->context;
  const int n = lua_gettop(L) - first + 1, needed = record->tensors[record->n_tensors - 1].argument;
  if (n < needed || n > record->n_arguments)
    luaL_error(L, "%d gradients returned, expected %d: one for each argument, nil for what is no tensor", n,
               record->n_arguments);
  int tensor = 0;
  for (int argument = 1; argument <= n; argument++) {
    const tensor_argument *expected = &record->tensors[tensor];
    if (tensor == record->n_tensors || expected->argument != argument) {
      if (!lua_isnil(L, first + argument - 1))
        luaL_error(L, "a gradient for argument %d, which is no tensor; expected nil", argument);
      continue;
    }
    if (call->node->needs[tensor]) call->grads[tensor] = check_gradient(L, first + argument - 1, expected);
    tensor++;
  }
}

static int protected_backward(lua_State *L) {
  backward_call *call = lua_touserdata(L, 1);
  const call_record *record = call->node->context;
  if (lua_rawgeti(L, LUA_REGISTRYINDEX, record->context) != LUA_TTABLE) return luaL_error(L, "the context is lost");
  push_saved(L, 2, call->node);
  lua_rawgetp(L, 2, &backward_key);
  lua_pushvalue(L, 2);
  push_own_gradient(L, call->grad_output);
  lua_call(L, 2, LUA_MULTRET);
  luaL_checkstack(L, 8, "gradients");
  take_gradients(L, 3, call);
  return 0;
}

static int value_to_text(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

/* Turns the error value on top of the stack into the core's last error. Raises nothing. */
static void keep_error(lua_State *L, int status, const operation *o) {
  if (lua_type(L, -1) != LUA_TSTRING) {
    lua_pushcfunction(L, value_to_text);
    lua_insert(L, -2);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) status = LUA_ERRERR;
  }
  const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error that is no text";
  mt_fail(status == LUA_ERRMEM ? MT_ERROR_MEMORY : MT_ERROR_ARGUMENT, "op '%s', backward: %s", o->name, message);
}

static int backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  call_record *record = node->context;
  lua_State *L = record->L;
  if (!lua_checkstack(L, 8)) return mt_fail(MT_ERROR_MEMORY, "out of memory: no room on the Lua stack");
  backward_call call = {node, grad_output, grads};
  lua_pushcfunction(L, protected_backward);
  lua_pushlightuserdata(L, &call);
  const int status = lua_pcall(L, 1, 0, 0);
  if (status == LUA_OK) {
    let_go_of_context(record);
    return 0;
  }
  keep_error(L, status, record->operation);
  lua_pop(L, 1);
  return -1;
}

/* ---- forward ---- */

/*** Keeps tensors for backward, where they are `context.saved[1]`, ... in the order of saving. backward refuses to run
when one of them was changed in place. Other values can be fields of the context.
@function Context:save
@tparam Tensor ... */
static int save(lua_State *L) {
  const int n = lua_gettop(L);
  luaL_checktype(L, 1, LUA_TTABLE);
  for (int i = 2; i <= n; i++) mtl_check_tensor(L, i);
  if (lua_getfield(L, 1, "saved") != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_createtable(L, n - 1, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, 1, "saved");
  }
  const lua_Integer before = (lua_Integer)lua_rawlen(L, -1);
  for (int i = 2; i <= n; i++) {
    lua_pushvalue(L, i);
    lua_rawseti(L, -2, before + i - 1);
  }
  return 0;
}

/* Moves context.saved into an array, in a userdata left on the stack beside the list. */
static mt_tensor **take_saved(lua_State *L, int context, int *n) {
  const bool saved = lua_getfield(L, context, "saved") == LUA_TTABLE;
  const lua_Unsigned length = saved ? lua_rawlen(L, -1) : 0;
  mt_tensor **tensors = lua_newuserdatauv(L, (size_t)length * sizeof *tensors, 0);
  for (lua_Unsigned i = 0; i < length; i++) {
    lua_rawgeti(L, -2, (lua_Integer)i + 1);
    tensors[i] = mtl_test_tensor(L, -1);
    if (!tensors[i]) luaL_error(L, "context.saved is not what save() made it");
    lua_pop(L, 1);
  }
  lua_pushnil(L);
  lua_setfield(L, context, "saved");
  *n = (int)length;
  return tensors;
}

static operation *check_operation(lua_State *L) {
  operation **slot = luaL_checkudata(L, lua_upvalueindex(1), OPERATION);
  if (!*slot) luaL_error(L, "the operation was already released");
  return *slot;
}

/* Pushes a context for this call. */
static void push_context(lua_State *L) {
  lua_newtable(L);
  luaL_setmetatable(L, CONTEXT);
  lua_pushvalue(L, lua_upvalueindex(3));
  lua_rawsetp(L, -2, &backward_key);
}

/* Calls forward(context, arguments 1..n) without recording; the context is at n + 1, the one result goes to n + 2. */
static void run_forward(lua_State *L, int n) {
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_pushvalue(L, n + 1);
  for (int i = 1; i <= n; i++) lua_pushvalue(L, i);
  const mt_grad_mode mode = mt_grad_mode_get();
  mt_grad_mode_set(MT_GRAD_OFF);
  const int status = lua_pcall(L, n + 1, LUA_MULTRET, 0);
  mt_grad_mode_set(mode);
  const operation *o = check_operation(L);
  if (status != LUA_OK) {
    if (lua_type(L, -1) == LUA_TSTRING) luaL_error(L, "op '%s', forward: %s", o->name, lua_tostring(L, -1));
    lua_error(L); /* a value that is no text stays what it is */
  }
  const int results = lua_gettop(L) - (n + 1);
  if (results != 1) luaL_error(L, "op '%s', forward: %d values returned, expected one tensor", o->name, results);
  if (!mtl_test_tensor(L, n + 2))
    luaL_error(L, "op '%s', forward: a %s returned, expected a tensor", o->name, luaL_typename(L, n + 2));
}

/* The tensors among arguments 1..n: into an array left on the stack as a userdata; *needed: one wants a gradient. */
static mt_tensor **tensors_among(lua_State *L, int n, int *count, bool *needed) {
  mt_tensor **tensors = lua_newuserdatauv(L, (size_t)n * sizeof *tensors, 0);
  *count = 0;
  *needed = false;
  for (int i = 1; i <= n; i++) {
    mt_tensor *t = mtl_test_tensor(L, i);
    if (!t) continue;
    tensors[(*count)++] = t;
    *needed = *needed || mt_needs_grad(t);
  }
  return tensors;
}

/* In a userdata left on the stack; without its references. */
static call_record *push_record(lua_State *L, int n_arguments, int n_tensors, size_t *size) {
  *size = sizeof(call_record) + (size_t)n_tensors * sizeof(tensor_argument);
  call_record *record = lua_newuserdatauv(L, *size, 0);
  memset(record, 0, *size);
  record->n_arguments = n_arguments;
  for (int i = 1; i <= n_arguments; i++) {
    const mt_tensor *t = mtl_test_tensor(L, i);
    if (!t) continue;
    tensor_argument *argument = &record->tensors[record->n_tensors++];
    argument->argument = i;
    argument->ndim = t->ndim;
    memcpy(argument->shape, t->shape, sizeof argument->shape);
  }
  return record;
}

/* The operation itself: arguments -> result. */
static int call(lua_State *L) {
  const int n = lua_gettop(L), context = n + 1;
  luaL_checkstack(L, n + 16, "too many arguments");
  push_context(L);
  run_forward(L, n);
  operation *self = check_operation(L);
  mt_tensor *output, *result = mtl_test_tensor(L, n + 2);
  int n_tensors, n_saved;
  bool needed;
  mt_tensor **tensors = tensors_among(L, n, &n_tensors, &needed);
  if (!needed || result->dtype != MT_FLOAT32) {
    MTL_NEW(L, output, mt_tensor_detach(result));
    mtl_push_tensor(L, output);
    return 1;
  }
  size_t size;
  mt_tensor **saved = take_saved(L, context, &n_saved);
  call_record *record = push_record(L, n, n_tensors, &size);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  record->L = lua_tothread(L, -1);
  lua_pushvalue(L, context);
  record->context = luaL_ref(L, LUA_REGISTRYINDEX);
  record->operation = self;
  self->refs++;
  output = mt_recorded(mt_tensor_detach(result), &self->op, n_tensors, tensors, n_saved, saved, record, size);
  if (!output) return mtl_raise(L);
  mtl_push_tensor(L, output);
  return 1;
}

/* ---- making one ---- */

static int collect_operation(lua_State *L) {
  operation **slot = luaL_checkudata(L, 1, OPERATION);
  release_operation(*slot);
  *slot = NULL;
  return 0;
}

static void push_operation(lua_State *L, const char *name) {
  const size_t length = strlen(name) + 1;
  operation **slot = lua_newuserdatauv(L, sizeof *slot, 0);
  *slot = NULL;
  luaL_setmetatable(L, OPERATION);
  operation *o = malloc(sizeof *o + length);
  if (!o) luaL_error(L, "out of memory: op '%s'", name);
  memcpy(o->name, name, length);
  o->op = (mt_op){.name = o->name, .backward = backward, .destroy = destroy_record, .release = release_of_node};
  o->refs = 1;
  *slot = o;
}

/*** An operation of your own, differentiable.

    local square = mt.op{
      name = "square",
      forward = function(context, x)
        context:save(x)
        return x * x
      end,
      backward = function(context, gradient)
        return gradient * context.saved[1] * 2
      end,
    }
    local y = square(x)

forward gets a context and what the operation is called with (tensors and any other values) and returns one tensor;
nothing in it is recorded, so that any operation may be used. backward gets the same context and the gradient of the
result, and returns a gradient for each argument: a float32 tensor of its shape, or nil. An operation that gives
integers has no gradient. Tensors that backward needs go through `context:save`, other values into fields of the
context; neither function may hold the operation's result in an upvalue, or its memory is never returned.

Errors in either function name the operation.
@function op
@tparam table options `forward` and `backward`, functions; `name` ("op")
@treturn function (...) -> Tensor */
static int new_operation(lua_State *L) {
  static const char *const known[] = {"forward", "backward", "name", NULL};
  static const char *const functions[] = {"forward", "backward"};
  luaL_checktype(L, 1, LUA_TTABLE);
  mtl_check_options(L, 1, known);
  const char *name = mtl_option_string(L, 1, "name", "op");
  push_operation(L, name);
  for (int i = 0; i < 2; i++)
    if (lua_getfield(L, 1, functions[i]) != LUA_TFUNCTION) return mtl_option_error(L, 1, functions[i], "function");
  lua_pushcclosure(L, call, 3);
  return 1;
}

static const luaL_Reg functions[] = {{"op", new_operation}, {NULL, NULL}};
static const luaL_Reg none[] = {{NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", collect_operation}, {NULL, NULL}};
static const luaL_Reg context_methods[] = {{"save", save}, {NULL, NULL}};

void mtl_open_operation(lua_State *L) {
  mtl_new_class(L, OPERATION, none, meta);
  mtl_new_class(L, CONTEXT, context_methods, NULL);
  luaL_setfuncs(L, functions, 0);
}
