/* One handler per opcode in a table of 256; a byte without one is refused. */
#include "io/pickle.h"

#include <stdlib.h>
#include <string.h>

#include "io/bytes.h"
#include "io/pickle_stack.h"

#define MAX_NAME 256 /* of a class; what is longer is cut */
#define MAX_PROTOCOL 5

/* ---- opcodes: constants ---- */

static int op_none(mt_pickle *p) { return mt_pickle_push(p, (mt_pickle_value){.kind = MT_PICKLE_NONE}); }
static int op_true(mt_pickle *p) {
  return mt_pickle_push(p, (mt_pickle_value){.kind = MT_PICKLE_BOOLEAN, .integer = 1});
}
static int op_false(mt_pickle *p) {
  return mt_pickle_push(p, (mt_pickle_value){.kind = MT_PICKLE_BOOLEAN, .integer = 0});
}

static int push_integer(mt_pickle *p, int64_t value) {
  return mt_pickle_push(p, (mt_pickle_value){.kind = MT_PICKLE_INTEGER, .integer = value});
}

static int op_int1(mt_pickle *p) {
  uint64_t value;
  return mt_pickle_take_unsigned(p, 1, &value) < 0 ? -1 : push_integer(p, (int64_t)value);
}

static int op_int2(mt_pickle *p) {
  uint64_t value;
  return mt_pickle_take_unsigned(p, 2, &value) < 0 ? -1 : push_integer(p, (int64_t)value);
}

static int op_int4(mt_pickle *p) {
  uint64_t value;
  return mt_pickle_take_unsigned(p, 4, &value) < 0 ? -1 : push_integer(p, (int32_t)(uint32_t)value);
}

static int push_long(mt_pickle *p, uint64_t size) {
  const uint8_t *bytes = mt_pickle_take(p, size);
  if (!bytes) return -1;
  if (size > 8)
    return mt_pickle_push(
        p, (mt_pickle_value){.kind = MT_PICKLE_LONG, .size = (uint32_t)size, .text = (const char *)bytes});
  uint64_t value = size > 0 && bytes[size - 1] & 0x80 ? UINT64_MAX : 0;
  memcpy(&value, bytes, size);
  return push_integer(p, (int64_t)value);
}

static int op_long1(mt_pickle *p) {
  uint64_t size;
  return mt_pickle_take_unsigned(p, 1, &size) < 0 ? -1 : push_long(p, size);
}

static int op_long4(mt_pickle *p) {
  uint64_t size;
  return mt_pickle_take_unsigned(p, 4, &size) < 0 ? -1 : push_long(p, size);
}

/* Big-endian, unlike all the others. */
static int op_float(mt_pickle *p) {
  uint64_t bits;
  double number;
  if (mt_pickle_take_unsigned(p, 8, &bits) < 0) return -1;
  bits = __builtin_bswap64(bits);
  memcpy(&number, &bits, sizeof number);
  return mt_pickle_push(p, (mt_pickle_value){.kind = MT_PICKLE_NUMBER, .number = number});
}

static int push_string(mt_pickle *p, int size_bytes) {
  uint64_t size;
  if (mt_pickle_take_unsigned(p, size_bytes, &size) < 0) return -1;
  if (size > UINT32_MAX) return fail_here(p, "a string of %llu bytes", (unsigned long long)size);
  const uint8_t *text = mt_pickle_take(p, size);
  if (!text) return -1;
  return mt_pickle_push(
      p, (mt_pickle_value){.kind = MT_PICKLE_STRING, .size = (uint32_t)size, .text = (const char *)text});
}

static int op_string1(mt_pickle *p) { return push_string(p, 1); }
static int op_string4(mt_pickle *p) { return push_string(p, 4); }
static int op_string8(mt_pickle *p) { return push_string(p, 8); }

/* ---- opcodes: containers ---- */

static int op_empty_tuple(mt_pickle *p) { return mt_pickle_gather_last(p, 0); }
static int op_empty_list(mt_pickle *p) { return mt_pickle_gather(p, MT_PICKLE_LIST, p->depth, 0); }
static int op_empty_dict(mt_pickle *p) { return mt_pickle_gather(p, MT_PICKLE_DICT, p->depth, 0); }
static int op_tuple1(mt_pickle *p) { return mt_pickle_gather_last(p, 1); }
static int op_tuple2(mt_pickle *p) { return mt_pickle_gather_last(p, 2); }
static int op_tuple3(mt_pickle *p) { return mt_pickle_gather_last(p, 3); }
static int op_tuple(mt_pickle *p) { return mt_pickle_gather_from_mark(p, MT_PICKLE_TUPLE); }
static int op_list(mt_pickle *p) { return mt_pickle_gather_from_mark(p, MT_PICKLE_LIST); }
static int op_dict(mt_pickle *p) { return mt_pickle_gather_from_mark(p, MT_PICKLE_DICT); }
static int op_append(mt_pickle *p) { return mt_pickle_extend_by(p, MT_PICKLE_LIST, 1); }
static int op_appends(mt_pickle *p) { return mt_pickle_extend_from_mark(p, MT_PICKLE_LIST); }
static int op_setitem(mt_pickle *p) { return mt_pickle_extend_by(p, MT_PICKLE_DICT, 2); }
static int op_setitems(mt_pickle *p) { return mt_pickle_extend_from_mark(p, MT_PICKLE_DICT); }
static int op_frozen_set(mt_pickle *p) { return mt_pickle_gather_from_mark(p, MT_PICKLE_LIST); }

/* ---- opcodes: stack and memo ---- */

static int op_mark(mt_pickle *p) { return mt_pickle_push(p, (mt_pickle_value){.kind = MT_PICKLE_MARK}); }

static int op_pop(mt_pickle *p) {
  if (p->depth == 0) return fail_here(p, "%s", "a value is missing on the stack");
  p->depth--;
  return 0;
}

static int op_pop_mark(mt_pickle *p) {
  size_t first = 0;
  if (mt_pickle_above_mark(p, &first) < 0) return -1;
  p->depth = first - 1;
  return 0;
}

static int op_dup(mt_pickle *p) {
  const mt_pickle_value *value = mt_pickle_top(p);
  return value ? mt_pickle_push(p, *value) : -1;
}

/* Python numbers what it remembers from 0 (or 1) on. */
static int remember(mt_pickle *p, uint64_t index) {
  const mt_pickle_value *value = mt_pickle_top(p);
  if (!value) return -1;
  if (index > p->memo_count + 1)
    return fail_here(p, "memo %llu, expected at most %zu", (unsigned long long)index, p->memo_count + 1);
  while (index >= p->memo_count) {
    if (mt_pickle_reserve(p, &p->memo, p->memo_count, &p->memo_capacity) < 0) return -1;
    p->memo[p->memo_count++] = (mt_pickle_value){.kind = MT_PICKLE_MARK};
  }
  p->memo[index] = *value;
  return 0;
}

static int op_put1(mt_pickle *p) {
  uint64_t index;
  return mt_pickle_take_unsigned(p, 1, &index) < 0 ? -1 : remember(p, index);
}

static int op_put4(mt_pickle *p) {
  uint64_t index;
  return mt_pickle_take_unsigned(p, 4, &index) < 0 ? -1 : remember(p, index);
}

static int op_memoize(mt_pickle *p) { return remember(p, p->memo_count); }

static int recall(mt_pickle *p, uint64_t index) {
  if (index >= p->memo_count || p->memo[index].kind == MT_PICKLE_MARK)
    return fail_here(p, "memo %llu was never set", (unsigned long long)index);
  return mt_pickle_push(p, p->memo[index]);
}

static int op_get1(mt_pickle *p) {
  uint64_t index;
  return mt_pickle_take_unsigned(p, 1, &index) < 0 ? -1 : recall(p, index);
}

static int op_get4(mt_pickle *p) {
  uint64_t index;
  return mt_pickle_take_unsigned(p, 4, &index) < 0 ? -1 : recall(p, index);
}

/* ---- opcodes: what would run code in Python ---- */

/* A name that the caller does not know. */
static int push_class(mt_pickle *p, const char *name) {
  const size_t length = strlen(name), size = length < MAX_NAME ? length : MAX_NAME;
  char *text = mt_pickle_text_new(p, size);
  if (!text) return -1;
  memcpy(text, name, size);
  return mt_pickle_push(p, (mt_pickle_value){.kind = MT_PICKLE_CLASS, .size = (uint32_t)size, .text = text});
}

static int push_named(mt_pickle *p, const char *full_name) {
  const int global = p->hooks->find_global(p->context, full_name);
  if (global == MT_PICKLE_UNKNOWN) return push_class(p, full_name);
  return mt_pickle_push(p, (mt_pickle_value){.kind = MT_PICKLE_GLOBAL, .integer = global});
}

static int push_global(mt_pickle *p, const char *module, size_t module_size, const char *name, size_t name_size) {
  mt_bytes full = {0};
  int status = -1;
  if (memchr(module, '\0', module_size) || memchr(name, '\0', name_size))
    fail_here(p, "%s", "a zero byte in the name of a global");
  else if (mt_bytes_append(&full, module, module_size) == 0 && mt_bytes_append(&full, ".", 1) == 0 &&
           mt_bytes_append(&full, name, name_size) == 0 && mt_bytes_append(&full, "", 1) == 0)
    status = push_named(p, (const char *)full.data);
  mt_bytes_free(&full);
  return status;
}

static int op_global(mt_pickle *p) {
  const char *module = NULL, *name = NULL;
  size_t module_size = 0, name_size = 0;
  if (mt_pickle_take_line(p, &module, &module_size) < 0 || mt_pickle_take_line(p, &name, &name_size) < 0) return -1;
  return push_global(p, module, module_size, name, name_size);
}

static int op_stack_global(mt_pickle *p) {
  mt_pickle_value module, name;
  if (mt_pickle_pop(p, &name) < 0 || mt_pickle_pop(p, &module) < 0) return -1;
  if (module.kind != MT_PICKLE_STRING || name.kind != MT_PICKLE_STRING)
    return fail_here(p, "%s", "the name of a global is not a string");
  return push_global(p, module.text, module.size, name.text, name.size);
}

/* Numbers that stand for globals in some registry of the writer's. */
static int push_extension(mt_pickle *p, int size) {
  return mt_pickle_take(p, (uint64_t)size) ? push_class(p, "an extension") : -1;
}
static int op_extension1(mt_pickle *p) { return push_extension(p, 1); }
static int op_extension2(mt_pickle *p) { return push_extension(p, 2); }
static int op_extension4(mt_pickle *p) { return push_extension(p, 4); }

static int push_instance(mt_pickle *p, mt_pickle_value callee, mt_pickle_value args) {
  const mt_pickle_value parts[MT_PICKLE_PART_COUNT] = {[MT_PICKLE_CALLEE] = callee, [MT_PICKLE_ARGUMENTS] = args};
  mt_pickle_items *items = mt_pickle_items_new(p);
  for (int i = 0; items && i < MT_PICKLE_PART_COUNT; i++)
    if (mt_pickle_append(p, items, &parts[i]) < 0) return -1;
  return items ? mt_pickle_push(p, (mt_pickle_value){.kind = MT_PICKLE_INSTANCE, .items = items}) : -1;
}

static int push_result(mt_pickle *p, mt_pickle_value callee, mt_pickle_value args) {
  mt_pickle_value result;
  if (args.kind != MT_PICKLE_TUPLE ||
      (callee.kind != MT_PICKLE_GLOBAL && callee.kind != MT_PICKLE_CLASS && callee.kind != MT_PICKLE_INSTANCE))
    return fail_here(p, "a call of %s with %s, expected a global and a tuple", mt_pickle_kind_name(callee.kind),
                     mt_pickle_kind_name(args.kind));
  const int known =
      callee.kind == MT_PICKLE_GLOBAL ? p->hooks->call(p->context, p, callee.integer, args.items, &result) : 0;
  if (known < 0) return -1;
  return known ? mt_pickle_push(p, result) : push_instance(p, callee, args);
}

static int op_call(mt_pickle *p) {
  mt_pickle_value args, callee;
  return mt_pickle_pop(p, &args) < 0 || mt_pickle_pop(p, &callee) < 0 ? -1 : push_result(p, callee, args);
}

static int op_call_with_names(mt_pickle *p) {
  mt_pickle_value named;
  return mt_pickle_pop(p, &named) < 0 ? -1 : op_call(p);
}

/* A class of Python 2: above a mark stand the class and its arguments; or its name is in the opcode. */
static int op_old_object(mt_pickle *p) {
  mt_pickle_value args;
  size_t first = 0;
  if (mt_pickle_above_mark(p, &first) < 0) return -1;
  if (first == p->depth) return fail_here(p, "%s", "a value is missing on the stack");
  const mt_pickle_value callee = p->stack[first];
  if (mt_pickle_gather(p, MT_PICKLE_TUPLE, first + 1, 2) < 0 || mt_pickle_pop(p, &args) < 0) return -1;
  return push_result(p, callee, args);
}

static int op_old_instance(mt_pickle *p) {
  mt_pickle_value args, callee;
  if (mt_pickle_gather_from_mark(p, MT_PICKLE_TUPLE) < 0 || mt_pickle_pop(p, &args) < 0 || op_global(p) < 0 ||
      mt_pickle_pop(p, &callee) < 0)
    return -1;
  return push_result(p, callee, args);
}

static int op_persistent(mt_pickle *p) {
  mt_pickle_value id, result;
  if (mt_pickle_pop(p, &id) < 0 || p->hooks->persistent(p->context, &id, &result) < 0) return -1;
  return mt_pickle_push(p, result);
}

/* Attributes of what is plain data here (a state dict carries versions there) are passed over. */
static int op_build(mt_pickle *p) {
  mt_pickle_value state;
  if (mt_pickle_pop(p, &state) < 0) return -1;
  mt_pickle_value *object = mt_pickle_top(p);
  if (!object) return -1;
  if (object->kind == MT_PICKLE_OBJECT) return p->hooks->build(p->context, object->integer, &state);
  if (object->kind == MT_PICKLE_INSTANCE) object->items->values[MT_PICKLE_STATE] = state;
  return 0;
}

/* ---- opcodes: frame ---- */

static int op_protocol(mt_pickle *p) {
  uint64_t version;
  if (mt_pickle_take_unsigned(p, 1, &version) < 0) return -1;
  if (version >= 2 && version <= MAX_PROTOCOL) return 0;
  return fail_here(p, "protocol %d, expected 2 to %d", (int)version, MAX_PROTOCOL);
}

static int op_frame(mt_pickle *p) {
  uint64_t size;
  return mt_pickle_take_unsigned(p, 8, &size);
}

static int op_stop(mt_pickle *p) {
  p->stopped = true;
  return p->depth == 1 ? 0 : fail_here(p, "it ends with %zu values on the stack, expected 1", p->depth);
}

static int (*const handlers[256])(mt_pickle *) = {
    [0x80] = op_protocol,   [0x95] = op_frame,       ['.'] = op_stop,
    ['N'] = op_none,        [0x88] = op_true,        [0x89] = op_false,
    ['K'] = op_int1,        ['M'] = op_int2,         ['J'] = op_int4,
    [0x8a] = op_long1,      [0x8b] = op_long4,       ['G'] = op_float,
    ['U'] = op_string1,     [0x8c] = op_string1,     ['C'] = op_string1,
    ['T'] = op_string4,     ['X'] = op_string4,      ['B'] = op_string4,
    [0x8d] = op_string8,    [0x8e] = op_string8,     [0x96] = op_string8,
    [')'] = op_empty_tuple, [']'] = op_empty_list,   ['}'] = op_empty_dict,
    [0x8f] = op_empty_list, [0x85] = op_tuple1,      [0x86] = op_tuple2,
    [0x87] = op_tuple3,     ['t'] = op_tuple,        ['l'] = op_list,
    ['d'] = op_dict,        ['a'] = op_append,       ['e'] = op_appends,
    [0x90] = op_appends,    [0x91] = op_frozen_set,  ['s'] = op_setitem,
    ['u'] = op_setitems,    ['('] = op_mark,         ['0'] = op_pop,
    ['1'] = op_pop_mark,    ['2'] = op_dup,          ['q'] = op_put1,
    ['r'] = op_put4,        [0x94] = op_memoize,     ['h'] = op_get1,
    ['j'] = op_get4,        ['c'] = op_global,       [0x93] = op_stack_global,
    [0x82] = op_extension1, [0x83] = op_extension2,  [0x84] = op_extension4,
    ['R'] = op_call,        [0x81] = op_call,        [0x92] = op_call_with_names,
    ['o'] = op_old_object,  ['i'] = op_old_instance, ['Q'] = op_persistent,
    ['b'] = op_build,
};

/* ---- running ---- */

mt_pickle *mt_pickle_new(const void *data, size_t size, const char *name, const mt_pickle_hooks *hooks, void *context) {
  mt_pickle *p = malloc(sizeof *p);
  if (!p) {
    mt_fail(MT_ERROR_MEMORY, "out of memory: load '%s'", name);
    return NULL;
  }
  *p = (mt_pickle){.data = data, .size = size, .name = name, .hooks = hooks, .context = context};
  return p;
}

void mt_pickle_free(mt_pickle *p) {
  if (!p) return;
  for (mt_pickle_items *items = p->owned, *next; items; items = next) {
    next = items->next;
    free(items->values);
    free(items);
  }
  for (mt_pickle_text *own = p->texts, *next; own; own = next) {
    next = own->next;
    free(own);
  }
  free(p->stack);
  free(p->memo);
  free(p);
}

int mt_pickle_next(mt_pickle *p, mt_pickle_value *out) {
  p->depth = p->memo_count = 0;
  for (p->stopped = false; !p->stopped;) {
    p->opcode_at = p->at;
    const uint8_t *opcode = mt_pickle_take(p, 1);
    if (!opcode) return -1;
    if (!handlers[*opcode]) return fail_here(p, "opcode 0x%02x is not supported", *opcode);
    if (handlers[*opcode](p) < 0) return -1;
  }
  return mt_pickle_pop(p, out);
}

size_t mt_pickle_position(const mt_pickle *p) { return p->at; }

bool mt_pickle_ran_out(const mt_pickle *p) { return p->ran_out; }
