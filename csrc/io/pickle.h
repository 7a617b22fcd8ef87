/* A restricted reader of Python's pickles: data, never code.
 *
 * It keeps a stack and a memo as Python's own does, but makes numbers, strings, tuples, lists and dicts only. A global
 * (the name of a Python class or function) has to be known to the caller's find_global, and what calling it with some
 * arguments means is the caller's `call`: both give data back. Everything else is refused. Values are referred to, not
 * nested by value, so they may be shared or even contain themselves: whoever walks them bounds the depth. Opcodes are
 * the binary ones of protocols 2 to 5. Errors name the file and the byte. */
#ifndef MT_IO_PICKLE_H
#define MT_IO_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
  MT_PICKLE_NONE,
  MT_PICKLE_BOOLEAN,
  MT_PICKLE_INTEGER,
  MT_PICKLE_LONG, /* an integer beyond 64 bits: its bytes, little-endian two's complement */
  MT_PICKLE_NUMBER,
  MT_PICKLE_STRING,
  MT_PICKLE_TUPLE,
  MT_PICKLE_LIST,
  MT_PICKLE_DICT,   /* items: key, value, key, value, ... */
  MT_PICKLE_GLOBAL, /* integer: what find_global gave */
  MT_PICKLE_OBJECT, /* integer: the caller's own number for it */
  MT_PICKLE_MARK    /* inside the reader only */
} mt_pickle_kind;

typedef struct mt_pickle_items mt_pickle_items;

typedef struct {
  mt_pickle_kind kind;
  uint32_t size; /* bytes of text */
  union {
    int64_t integer; /* BOOLEAN: 0 or 1 */
    double number;
    const char *text; /* LONG, STRING: in the pickle itself, not zero-terminated */
    mt_pickle_items *items;
  };
} mt_pickle_value;

struct mt_pickle_items {
  mt_pickle_value *values;
  size_t count, capacity;
  mt_pickle_items *next; /* of all that the reader owns */
};

typedef struct mt_pickle mt_pickle;

typedef struct {
  /* What stands for the global "module.name" from here on, >= 0; or -1 with an error. */
  int (*find_global)(void *context, const char *name);
  /* The result of calling it; args is a TUPLE's items. */
  int (*call)(void *context, mt_pickle *pickle, int64_t global, const mt_pickle_items *args, mt_pickle_value *result);
  /* What a persistent id (a reference to something outside of the pickle) stands for. */
  int (*persistent)(void *context, mt_pickle *pickle, const mt_pickle_value *id, mt_pickle_value *result);
} mt_pickle_hooks;

/* data must stay until mt_pickle_free, which also ends every value; `name` stands for the file in messages. */
mt_pickle *mt_pickle_new(const void *data, size_t size, const char *name, const mt_pickle_hooks *hooks, void *context);
void mt_pickle_free(mt_pickle *pickle); /* NULL is allowed */

/* The next of the pickles that stand one after the other in the data, and where the one after it begins. */
int mt_pickle_next(mt_pickle *pickle, mt_pickle_value *out);
size_t mt_pickle_position(const mt_pickle *pickle);

/* For hooks: a new, empty container; one more item. */
mt_pickle_items *mt_pickle_items_new(mt_pickle *pickle);
int mt_pickle_append(mt_pickle *pickle, mt_pickle_items *items, const mt_pickle_value *value);

const char *mt_pickle_kind_name(mt_pickle_kind kind);
bool mt_pickle_is_text(const mt_pickle_value *value, const char *text);

#endif
