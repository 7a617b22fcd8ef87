/* Memory is bounded by MAX_STACK, MAX_ITEMS, MAX_CONTAINERS and MAX_TEXT whatever the data says: lengths are checked
 * against what is left before they are used. */
#include "io/pickle_stack.h"

#include <stdlib.h>
#include <string.h>

#define MAX_STACK ((size_t)1 << 20)
#define MAX_ITEMS ((size_t)1 << 24)
#define MAX_CONTAINERS ((size_t)1 << 21)
#define MAX_TEXT(pickle_size) (4 * (pickle_size) + ((size_t)1 << 20))

static int out_of_memory(const mt_pickle *p) { return mt_fail(MT_ERROR_MEMORY, "out of memory: load '%s'", p->name); }

const char *mt_pickle_kind_name(mt_pickle_kind kind) {
  static const char *const names[] = {"None",     "a boolean", "an integer", "a long integer", "a number",
                                      "a string", "a tuple",   "a list",     "a dict",         "a global",
                                      "a class",  "an object", "an object",  "a mark"};
  return names[kind];
}

bool mt_pickle_is_text(const mt_pickle_value *value, const char *text) {
  return value->kind == MT_PICKLE_STRING && value->size == strlen(text) && memcmp(value->text, text, value->size) == 0;
}

/* ---- reading bytes ---- */

static int fail_truncated(mt_pickle *p) {
  p->ran_out = true;
  return fail_here(p, "%s", "it is truncated");
}

const uint8_t *mt_pickle_take(mt_pickle *p, uint64_t size) {
  if (size > p->size - p->at) {
    fail_truncated(p);
    return NULL;
  }
  const uint8_t *bytes = p->data + p->at;
  p->at += size;
  return bytes;
}

int mt_pickle_take_unsigned(mt_pickle *p, int size, uint64_t *out) {
  const uint8_t *bytes = mt_pickle_take(p, (uint64_t)size);
  if (!bytes) return -1;
  *out = 0;
  for (int i = 0; i < size; i++) *out |= (uint64_t)bytes[i] << 8 * i;
  return 0;
}

int mt_pickle_take_line(mt_pickle *p, const char **text, size_t *size) {
  const uint8_t *end = memchr(p->data + p->at, '\n', p->size - p->at);
  if (!end) return fail_truncated(p);
  *text = (const char *)p->data + p->at;
  *size = (size_t)(end - p->data) - p->at;
  p->at += *size + 1;
  return 0;
}

/* ---- stack and containers ---- */

int mt_pickle_reserve(mt_pickle *p, mt_pickle_value **values, size_t count, size_t *capacity) {
  if (count < *capacity) return 0;
  const size_t wanted = *capacity ? 2 * *capacity : 4;
  mt_pickle_value *grown = realloc(*values, wanted * sizeof *grown);
  if (!grown) return out_of_memory(p);
  *values = grown;
  *capacity = wanted;
  return 0;
}

int mt_pickle_push(mt_pickle *p, mt_pickle_value value) {
  if (p->depth == MAX_STACK) return fail_here(p, "more than %zu values on the stack", MAX_STACK);
  if (mt_pickle_reserve(p, &p->stack, p->depth, &p->stack_capacity) < 0) return -1;
  p->stack[p->depth++] = value;
  return 0;
}

mt_pickle_value *mt_pickle_top(mt_pickle *p) {
  if (p->depth > 0 && p->stack[p->depth - 1].kind != MT_PICKLE_MARK) return &p->stack[p->depth - 1];
  fail_here(p, "%s", "a value is missing on the stack");
  return NULL;
}

int mt_pickle_pop(mt_pickle *p, mt_pickle_value *out) {
  const mt_pickle_value *value = mt_pickle_top(p);
  if (!value) return -1;
  *out = *value;
  p->depth--;
  return 0;
}

int mt_pickle_above_mark(mt_pickle *p, size_t *first) {
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
  if (mt_pickle_reserve(p, &items->values, items->count, &items->capacity) < 0) return -1;
  items->values[items->count++] = *value;
  p->n_items++;
  return 0;
}

char *mt_pickle_text_new(mt_pickle *p, size_t size) {
  if (size > MAX_TEXT(p->size) - p->text_bytes) {
    fail_here(p, "more than %zu bytes of names and encoded strings", MAX_TEXT(p->size));
    return NULL;
  }
  mt_pickle_text *own = malloc(sizeof *own + size + 1);
  if (!own) {
    out_of_memory(p);
    return NULL;
  }
  own->next = p->texts;
  own->text[size] = '\0';
  p->texts = own;
  p->text_bytes += size;
  return own->text;
}

/* Moves the stack's values from `first` on to the end of a container. */
static int move_items(mt_pickle *p, size_t first, mt_pickle_items *items) {
  for (size_t i = first; i < p->depth; i++)
    if (mt_pickle_append(p, items, &p->stack[i]) < 0) return -1;
  p->depth = first;
  return 0;
}

int mt_pickle_gather(mt_pickle *p, mt_pickle_kind kind, size_t first, size_t below) {
  mt_pickle_items *items = mt_pickle_items_new(p);
  if (!items || move_items(p, first, items) < 0) return -1;
  if (kind == MT_PICKLE_DICT && items->count % 2 != 0) return fail_here(p, "%s", "a dict's last key has no value");
  p->depth -= below;
  return mt_pickle_push(p, (mt_pickle_value){.kind = kind, .items = items});
}

int mt_pickle_gather_from_mark(mt_pickle *p, mt_pickle_kind kind) {
  size_t first = 0;
  return mt_pickle_above_mark(p, &first) < 0 ? -1 : mt_pickle_gather(p, kind, first, 1);
}

int mt_pickle_gather_last(mt_pickle *p, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (p->depth <= i || p->stack[p->depth - 1 - i].kind == MT_PICKLE_MARK)
      return fail_here(p, "%s", "a value is missing on the stack");
  return mt_pickle_gather(p, MT_PICKLE_TUPLE, p->depth - count, 0);
}

/* The dict or list that an object takes items for: an INSTANCE keeps a dict beside its other parts. */
static mt_pickle_value *target_of(mt_pickle *p, mt_pickle_value *object, mt_pickle_kind kind) {
  if (object->kind != MT_PICKLE_INSTANCE || kind != MT_PICKLE_DICT) return object;
  mt_pickle_value *entries = &object->items->values[MT_PICKLE_ENTRIES];
  if (entries->kind == MT_PICKLE_DICT) return entries;
  mt_pickle_items *items = mt_pickle_items_new(p);
  if (!items) return NULL;
  *entries = (mt_pickle_value){.kind = MT_PICKLE_DICT, .items = items};
  return entries;
}

/* Extends what stands right below `first` (and a mark, if there is one) by the values above. What a class that acts as
 * a list is filled with is passed over. */
static int extend(mt_pickle *p, mt_pickle_kind kind, size_t first, size_t mark) {
  const char *expected = mt_pickle_kind_name(kind);
  if (first < mark + 1) return fail_here(p, "nothing on the stack, expected %s", expected);
  if (kind == MT_PICKLE_DICT && (p->depth - first) % 2 != 0)
    return fail_here(p, "%s", "a dict's last key has no value");
  const mt_pickle_value *container = target_of(p, &p->stack[first - mark - 1], kind);
  if (!container) return -1;
  const bool is_instance = container->kind == MT_PICKLE_INSTANCE;
  if (container->kind != kind && !is_instance)
    return fail_here(p, "items for %s, expected %s", mt_pickle_kind_name(container->kind), expected);
  if (!is_instance && move_items(p, first, container->items) < 0) return -1;
  p->depth = first - mark;
  return 0;
}

int mt_pickle_extend_from_mark(mt_pickle *p, mt_pickle_kind kind) {
  size_t first = 0;
  return mt_pickle_above_mark(p, &first) < 0 ? -1 : extend(p, kind, first, 1);
}

int mt_pickle_extend_by(mt_pickle *p, mt_pickle_kind kind, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (p->depth <= i || p->stack[p->depth - 1 - i].kind == MT_PICKLE_MARK)
      return fail_here(p, "%s", "a value is missing on the stack");
  return extend(p, kind, p->depth - count, 0);
}
