/* One handler per opcode in a table of 256; a byte without one is refused. Memory is bounded by MAX_STACK, MAX_ITEMS
 * and MAX_CONTAINERS whatever the data says: lengths are checked against what is left before they are used. */
#include "io/pickle.h"

#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "io/bytes.h"

#define MAX_STACK ((size_t)1 << 16)
#define MAX_ITEMS ((size_t)1 << 22)
#define MAX_CONTAINERS ((size_t)1 << 19)
#define MAX_PROTOCOL 5

struct mt_pickle {
  const uint8_t *data;
  size_t size, at, opcode_at;
  const char *name;
  const mt_pickle_hooks *hooks;
  void *context;
  mt_pickle_value *stack;
  size_t depth, stack_capacity;
  mt_pickle_value *memo;
  size_t memo_count, memo_capacity;
  mt_pickle_items *owned;
  size_t n_containers, n_items;
  bool stopped;
};

#define fail_here(p, format, ...) \
  mt_fail(MT_ERROR_FORMAT, "load: '%s': pickle, byte %zu: " format, (p)->name, (p)->opcode_at, __VA_ARGS__)

static int out_of_memory(const mt_pickle *p) { return mt_fail(MT_ERROR_MEMORY, "out of memory: load '%s'", p->name); }

const char *mt_pickle_kind_name(mt_pickle_kind kind) {
  static const char *const names[] = {"None",    "a boolean", "an integer", "a long integer", "a number",  "a string",
                                      "a tuple", "a list",    "a dict",     "a global",       "an object", "a mark"};
  return names[kind];
}

bool mt_pickle_is_text(const mt_pickle_value *value, const char *text) {
  return value->kind == MT_PICKLE_STRING && value->size == strlen(text) && memcmp(value->text, text, value->size) == 0;
}

/* ---- reading bytes ---- */

static const uint8_t *take(mt_pickle *p, uint64_t size) {
  if (size > p->size - p->at) {
    fail_here(p, "%s", "it is truncated");
    return NULL;
  }
  const uint8_t *bytes = p->data + p->at;
  p->at += size;
  return bytes;
}

static int take_unsigned(mt_pickle *p, int size, uint64_t *out) {
  const uint8_t *bytes = take(p, (uint64_t)size);
  if (!bytes) return -1;
  *out = 0;
  for (int i = 0; i < size; i++) *out |= (uint64_t)bytes[i] << 8 * i;
  return 0;
}

/* The text up to the end of the line, which is skipped. */
static int take_line(mt_pickle *p, const char **text, size_t *size) {
  const uint8_t *end = memchr(p->data + p->at, '\n', p->size - p->at);
  if (!end) return fail_here(p, "%s", "it is truncated");
  *text = (const char *)p->data + p->at;
  *size = (size_t)(end - p->data) - p->at;
  p->at += *size + 1;
  return 0;
}

/* ---- stack and containers ---- */

/* Room for one more of `count` values. */
static int reserve(mt_pickle *p, mt_pickle_value **values, size_t count, size_t *capacity) {
  if (count < *capacity) return 0;
  const size_t wanted = *capacity ? 2 * *capacity : 4;
  mt_pickle_value *grown = realloc(*values, wanted * sizeof *grown);
  if (!grown) return out_of_memory(p);
  *values = grown;
  *capacity = wanted;
  return 0;
}

static int push(mt_pickle *p, mt_pickle_value value) {
  if (p->depth == MAX_STACK) return fail_here(p, "more than %zu values on the stack", MAX_STACK);
  if (reserve(p, &p->stack, p->depth, &p->stack_capacity) < 0) return -1;
  p->stack[p->depth++] = value;
  return 0;
}

/* The value on top, which is no mark; NULL with an error. */
static mt_pickle_value *top(mt_pickle *p) {
  if (p->depth > 0 && p->stack[p->depth - 1].kind != MT_PICKLE_MARK) return &p->stack[p->depth - 1];
  fail_here(p, "%s", "a value is missing on the stack");
  return NULL;
}

static int pop(mt_pickle *p, mt_pickle_value *out) {
  const mt_pickle_value *value = top(p);
  if (!value) return -1;
  *out = *value;
  p->depth--;
  return 0;
}

/* The first value above the last mark; the mark itself stands below it. */
static int above_mark(mt_pickle *p, size_t *first) {
  size_t i = p->depth;
  while (i > 0 && p->stack[i - 1].kind != MT_PICKLE_MARK) i--;
  if (i == 0) return fail_here(p, "%s", "a mark is missing on the stack");
  *first = i;
  return 0;
}

mt_pickle_items *mt_pickle_items_new(mt_pickle *p) {
  if (p->n_containers == MAX_CONTAINERS) {
    fail_here(p, "more than %zu tuples, lists and dicts", MAX_CONTAINERS);
    return NULL;
  }
  mt_pickle_items *items = calloc(1, sizeof *items);
  if (!items) {
    out_of_memory(p);
    return NULL;
  }
  items->next = p->owned;
  p->owned = items;
  p->n_containers++;
  return items;
}

int mt_pickle_append(mt_pickle *p, mt_pickle_items *items, const mt_pickle_value *value) {
  if (p->n_items == MAX_ITEMS) return fail_here(p, "more than %zu items in tuples, lists and dicts", MAX_ITEMS);
  if (reserve(p, &items->values, items->count, &items->capacity) < 0) return -1;
  items->values[items->count++] = *value;
  p->n_items++;
  return 0;
}

/* Moves the stack's values from `first` on to the end of a container. */
static int move_items(mt_pickle *p, size_t first, mt_pickle_items *items) {
  for (size_t i = first; i < p->depth; i++)
    if (mt_pickle_append(p, items, &p->stack[i]) < 0) return -1;
  p->depth = first;
  return 0;
}

/* A new container with the stack's values from `first` on, in the place of those and of `below` more under them. */
static int gather(mt_pickle *p, mt_pickle_kind kind, size_t first, size_t below) {
  mt_pickle_items *items = mt_pickle_items_new(p);
  if (!items || move_items(p, first, items) < 0) return -1;
  if (kind == MT_PICKLE_DICT && items->count % 2 != 0) return fail_here(p, "%s", "a dict's last key has no value");
  p->depth -= below;
  return push(p, (mt_pickle_value){.kind = kind, .items = items});
}

static int gather_from_mark(mt_pickle *p, mt_pickle_kind kind) {
  size_t first = 0;
  return above_mark(p, &first) < 0 ? -1 : gather(p, kind, first, 1);
}

static int gather_last(mt_pickle *p, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (p->depth <= i || p->stack[p->depth - 1 - i].kind == MT_PICKLE_MARK)
      return fail_here(p, "%s", "a value is missing on the stack");
  return gather(p, MT_PICKLE_TUPLE, p->depth - count, 0);
}

/* Extends the list or dict that stands right below `first` (and a mark, if there is one) by the values above. */
static int extend(mt_pickle *p, mt_pickle_kind kind, size_t first, size_t mark) {
  const char *expected = mt_pickle_kind_name(kind);
  if (first < mark + 1) return fail_here(p, "nothing on the stack, expected %s", expected);
  const mt_pickle_value *container = &p->stack[first - mark - 1];
  if (container->kind != kind)
    return fail_here(p, "items for %s, expected %s", mt_pickle_kind_name(container->kind), expected);
  if (kind == MT_PICKLE_DICT && (p->depth - first) % 2 != 0)
    return fail_here(p, "%s", "a dict's last key has no value");
  if (move_items(p, first, container->items) < 0) return -1;
  p->depth -= mark;
  return 0;
}

static int extend_from_mark(mt_pickle *p, mt_pickle_kind kind) {
  size_t first = 0;
  return above_mark(p, &first) < 0 ? -1 : extend(p, kind, first, 1);
}

static int extend_by(mt_pickle *p, mt_pickle_kind kind, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (p->depth <= i || p->stack[p->depth - 1 - i].kind == MT_PICKLE_MARK)
      return fail_here(p, "%s", "a value is missing on the stack");
  return extend(p, kind, p->depth - count, 0);
}

/* ---- opcodes: constants ---- */

static int op_none(mt_pickle *p) { return push(p, (mt_pickle_value){.kind = MT_PICKLE_NONE}); }
static int op_true(mt_pickle *p) { return push(p, (mt_pickle_value){.kind = MT_PICKLE_BOOLEAN, .integer = 1}); }
static int op_false(mt_pickle *p) { return push(p, (mt_pickle_value){.kind = MT_PICKLE_BOOLEAN, .integer = 0}); }

static int push_integer(mt_pickle *p, int64_t value) {
  return push(p, (mt_pickle_value){.kind = MT_PICKLE_INTEGER, .integer = value});
}

static int op_int1(mt_pickle *p) {
  uint64_t value;
  return take_unsigned(p, 1, &value) < 0 ? -1 : push_integer(p, (int64_t)value);
}

static int op_int2(mt_pickle *p) {
  uint64_t value;
  return take_unsigned(p, 2, &value) < 0 ? -1 : push_integer(p, (int64_t)value);
}

static int op_int4(mt_pickle *p) {
  uint64_t value;
  return take_unsigned(p, 4, &value) < 0 ? -1 : push_integer(p, (int32_t)(uint32_t)value);
}

static int push_long(mt_pickle *p, uint64_t size) {
  const uint8_t *bytes = take(p, size);
  if (!bytes) return -1;
  if (size > 8)
    return push(p, (mt_pickle_value){.kind = MT_PICKLE_LONG, .size = (uint32_t)size, .text = (const char *)bytes});
  uint64_t value = size > 0 && bytes[size - 1] & 0x80 ? UINT64_MAX : 0;
  memcpy(&value, bytes, size);
  return push_integer(p, (int64_t)value);
}

static int op_long1(mt_pickle *p) {
  uint64_t size;
  return take_unsigned(p, 1, &size) < 0 ? -1 : push_long(p, size);
}

static int op_long4(mt_pickle *p) {
  uint64_t size;
  return take_unsigned(p, 4, &size) < 0 ? -1 : push_long(p, size);
}

/* Big-endian, unlike all the others. */
static int op_float(mt_pickle *p) {
  uint64_t bits;
  double number;
  if (take_unsigned(p, 8, &bits) < 0) return -1;
  bits = __builtin_bswap64(bits);
  memcpy(&number, &bits, sizeof number);
  return push(p, (mt_pickle_value){.kind = MT_PICKLE_NUMBER, .number = number});
}

static int push_string(mt_pickle *p, int size_bytes) {
  uint64_t size;
  if (take_unsigned(p, size_bytes, &size) < 0) return -1;
  if (size > UINT32_MAX) return fail_here(p, "%s", "it is truncated");
  const uint8_t *text = take(p, size);
  if (!text) return -1;
  return push(p, (mt_pickle_value){.kind = MT_PICKLE_STRING, .size = (uint32_t)size, .text = (const char *)text});
}

static int op_string1(mt_pickle *p) { return push_string(p, 1); }
static int op_string4(mt_pickle *p) { return push_string(p, 4); }
static int op_string8(mt_pickle *p) { return push_string(p, 8); }

/* ---- opcodes: containers ---- */

static int op_empty_tuple(mt_pickle *p) { return gather_last(p, 0); }
static int op_empty_list(mt_pickle *p) { return gather(p, MT_PICKLE_LIST, p->depth, 0); }
static int op_empty_dict(mt_pickle *p) { return gather(p, MT_PICKLE_DICT, p->depth, 0); }
static int op_tuple1(mt_pickle *p) { return gather_last(p, 1); }
static int op_tuple2(mt_pickle *p) { return gather_last(p, 2); }
static int op_tuple3(mt_pickle *p) { return gather_last(p, 3); }
static int op_tuple(mt_pickle *p) { return gather_from_mark(p, MT_PICKLE_TUPLE); }
static int op_list(mt_pickle *p) { return gather_from_mark(p, MT_PICKLE_LIST); }
static int op_dict(mt_pickle *p) { return gather_from_mark(p, MT_PICKLE_DICT); }
static int op_append(mt_pickle *p) { return extend_by(p, MT_PICKLE_LIST, 1); }
static int op_appends(mt_pickle *p) { return extend_from_mark(p, MT_PICKLE_LIST); }
static int op_setitem(mt_pickle *p) { return extend_by(p, MT_PICKLE_DICT, 2); }
static int op_setitems(mt_pickle *p) { return extend_from_mark(p, MT_PICKLE_DICT); }

/* ---- opcodes: stack and memo ---- */

static int op_mark(mt_pickle *p) { return push(p, (mt_pickle_value){.kind = MT_PICKLE_MARK}); }

static int op_pop(mt_pickle *p) {
  if (p->depth == 0) return fail_here(p, "%s", "a value is missing on the stack");
  p->depth--;
  return 0;
}

static int op_pop_mark(mt_pickle *p) {
  size_t first = 0;
  if (above_mark(p, &first) < 0) return -1;
  p->depth = first - 1;
  return 0;
}

static int op_dup(mt_pickle *p) {
  const mt_pickle_value *value = top(p);
  return value ? push(p, *value) : -1;
}

/* Python numbers what it remembers from 0 (or 1) on. */
static int remember(mt_pickle *p, uint64_t index) {
  const mt_pickle_value *value = top(p);
  if (!value) return -1;
  if (index > p->memo_count + 1)
    return fail_here(p, "memo %llu, expected at most %zu", (unsigned long long)index, p->memo_count + 1);
  while (index >= p->memo_count) {
    if (reserve(p, &p->memo, p->memo_count, &p->memo_capacity) < 0) return -1;
    p->memo[p->memo_count++] = (mt_pickle_value){.kind = MT_PICKLE_MARK};
  }
  p->memo[index] = *value;
  return 0;
}

static int op_put1(mt_pickle *p) {
  uint64_t index;
  return take_unsigned(p, 1, &index) < 0 ? -1 : remember(p, index);
}

static int op_put4(mt_pickle *p) {
  uint64_t index;
  return take_unsigned(p, 4, &index) < 0 ? -1 : remember(p, index);
}

static int op_memoize(mt_pickle *p) { return remember(p, p->memo_count); }

static int recall(mt_pickle *p, uint64_t index) {
  if (index >= p->memo_count || p->memo[index].kind == MT_PICKLE_MARK)
    return fail_here(p, "memo %llu was never set", (unsigned long long)index);
  return push(p, p->memo[index]);
}

static int op_get1(mt_pickle *p) {
  uint64_t index;
  return take_unsigned(p, 1, &index) < 0 ? -1 : recall(p, index);
}

static int op_get4(mt_pickle *p) {
  uint64_t index;
  return take_unsigned(p, 4, &index) < 0 ? -1 : recall(p, index);
}

/* ---- opcodes: what would run code in Python ---- */

static int push_global(mt_pickle *p, const char *module, size_t module_size, const char *name, size_t name_size) {
  mt_bytes full = {0};
  int global = -1;
  if (memchr(module, '\0', module_size) || memchr(name, '\0', name_size))
    fail_here(p, "%s", "a zero byte in the name of a global");
  else if (mt_bytes_append(&full, module, module_size) == 0 && mt_bytes_append(&full, ".", 1) == 0 &&
           mt_bytes_append(&full, name, name_size) == 0 && mt_bytes_append(&full, "", 1) == 0)
    global = p->hooks->find_global(p->context, (const char *)full.data);
  mt_bytes_free(&full);
  return global < 0 ? -1 : push(p, (mt_pickle_value){.kind = MT_PICKLE_GLOBAL, .integer = global});
}

static int op_global(mt_pickle *p) {
  const char *module = NULL, *name = NULL;
  size_t module_size = 0, name_size = 0;
  if (take_line(p, &module, &module_size) < 0 || take_line(p, &name, &name_size) < 0) return -1;
  return push_global(p, module, module_size, name, name_size);
}

static int op_stack_global(mt_pickle *p) {
  mt_pickle_value module, name;
  if (pop(p, &name) < 0 || pop(p, &module) < 0) return -1;
  if (module.kind != MT_PICKLE_STRING || name.kind != MT_PICKLE_STRING)
    return fail_here(p, "%s", "the name of a global is not a string");
  return push_global(p, module.text, module.size, name.text, name.size);
}

static int op_call(mt_pickle *p) {
  mt_pickle_value args, callee, result;
  if (pop(p, &args) < 0 || pop(p, &callee) < 0) return -1;
  if (callee.kind != MT_PICKLE_GLOBAL || args.kind != MT_PICKLE_TUPLE)
    return fail_here(p, "a call of %s with %s, expected a global and a tuple", mt_pickle_kind_name(callee.kind),
                     mt_pickle_kind_name(args.kind));
  if (p->hooks->call(p->context, p, callee.integer, args.items, &result) < 0) return -1;
  return push(p, result);
}

static int op_persistent(mt_pickle *p) {
  mt_pickle_value id, result;
  if (pop(p, &id) < 0 || p->hooks->persistent(p->context, p, &id, &result) < 0) return -1;
  return push(p, result);
}

/* Attributes of a dict (state dicts carry versions there) are passed over; nothing else may have any. */
static int op_build(mt_pickle *p) {
  mt_pickle_value state;
  if (pop(p, &state) < 0) return -1;
  const mt_pickle_value *object = top(p);
  if (!object) return -1;
  if (object->kind != MT_PICKLE_DICT)
    return fail_here(p, "attributes for %s, expected a dict", mt_pickle_kind_name(object->kind));
  return 0;
}

/* ---- opcodes: frame ---- */

static int op_protocol(mt_pickle *p) {
  uint64_t version;
  if (take_unsigned(p, 1, &version) < 0) return -1;
  if (version >= 2 && version <= MAX_PROTOCOL) return 0;
  return fail_here(p, "protocol %d, expected 2 to %d", (int)version, MAX_PROTOCOL);
}

static int op_frame(mt_pickle *p) {
  uint64_t size;
  return take_unsigned(p, 8, &size);
}

static int op_stop(mt_pickle *p) {
  p->stopped = true;
  return p->depth == 1 ? 0 : fail_here(p, "it ends with %zu values on the stack, expected 1", p->depth);
}

static int (*const handlers[256])(mt_pickle *) = {
    [0x80] = op_protocol,   [0x95] = op_frame,     ['.'] = op_stop,       ['N'] = op_none,          [0x88] = op_true,
    [0x89] = op_false,      ['K'] = op_int1,       ['M'] = op_int2,       ['J'] = op_int4,          [0x8a] = op_long1,
    [0x8b] = op_long4,      ['G'] = op_float,      ['U'] = op_string1,    [0x8c] = op_string1,      ['C'] = op_string1,
    ['T'] = op_string4,     ['X'] = op_string4,    ['B'] = op_string4,    [0x8d] = op_string8,      [0x8e] = op_string8,
    [')'] = op_empty_tuple, [']'] = op_empty_list, ['}'] = op_empty_dict, [0x85] = op_tuple1,       [0x86] = op_tuple2,
    [0x87] = op_tuple3,     ['t'] = op_tuple,      ['l'] = op_list,       ['d'] = op_dict,          ['a'] = op_append,
    ['e'] = op_appends,     ['s'] = op_setitem,    ['u'] = op_setitems,   ['('] = op_mark,          ['0'] = op_pop,
    ['1'] = op_pop_mark,    ['2'] = op_dup,        ['q'] = op_put1,       ['r'] = op_put4,          [0x94] = op_memoize,
    ['h'] = op_get1,        ['j'] = op_get4,       ['c'] = op_global,     [0x93] = op_stack_global, ['R'] = op_call,
    [0x81] = op_call,       ['Q'] = op_persistent, ['b'] = op_build,
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
  free(p->stack);
  free(p->memo);
  free(p);
}

int mt_pickle_next(mt_pickle *p, mt_pickle_value *out) {
  p->depth = p->memo_count = 0;
  for (p->stopped = false; !p->stopped;) {
    p->opcode_at = p->at;
    const uint8_t *opcode = take(p, 1);
    if (!opcode) return -1;
    if (!handlers[*opcode]) return fail_here(p, "opcode 0x%02x is not supported", *opcode);
    if (handlers[*opcode](p) < 0) return -1;
  }
  return pop(p, out);
}

size_t mt_pickle_position(const mt_pickle *p) { return p->at; }
