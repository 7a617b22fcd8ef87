/* A restricted reader of Python's pickles: data, never code.
 *
 * It keeps a stack and a memo as Python's own does, but makes numbers, strings, tuples, lists and dicts only. A global
 * (the name of a Python class or function) that the caller's find_global knows means what the caller's `call` makes of
 * it, which is data too. Any other stays a name, CLASS, and whatever Python would have made by calling it is an
 * INSTANCE: the name, the arguments, and the attributes and items that were given to it, with nothing run. Values are
 * referred to, not nested by value, so they may be shared or even contain themselves: whoever walks them bounds the
 * depth. Opcodes are the binary ones of protocols 2 to 5. Errors name the file and the byte. */
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
  MT_PICKLE_LIST,     /* sets as well */
  MT_PICKLE_DICT,     /* items: key, value, key, value, ... */
  MT_PICKLE_GLOBAL,   /* integer: what find_global gave */
  MT_PICKLE_CLASS,    /* text: the name of a global that find_global does not know, zero-terminated */
  MT_PICKLE_INSTANCE, /* items: the four of mt_pickle_part */
  MT_PICKLE_OBJECT,   /* integer: the caller's own number for it */
  MT_PICKLE_MARK      /* inside the reader only */
} mt_pickle_kind;

/* What is known of an INSTANCE; the last two are NONE until they are given. */
typedef enum {
  MT_PICKLE_CALLEE,
  MT_PICKLE_ARGUMENTS, /* TUPLE */
  MT_PICKLE_STATE,     /* attributes: a DICT, or what else __setstate__ would get */
  MT_PICKLE_ENTRIES,   /* DICT: what a class that acts as a dict was filled with */
  MT_PICKLE_PART_COUNT
} mt_pickle_part;

typedef struct mt_pickle_items mt_pickle_items;

typedef struct {
  mt_pickle_kind kind;
  uint32_t size; /* bytes of text */
  union {
    int64_t integer; /* BOOLEAN: 0 or 1 */
    double number;
    const char *text; /* LONG, STRING: not zero-terminated */
    mt_pickle_items *items;
  };
} mt_pickle_value;

struct mt_pickle_items {
  mt_pickle_value *values;
  size_t count, capacity;
  bool seen;             /* for whoever walks the values */
  mt_pickle_items *next; /* of all that the reader owns */
};

typedef struct mt_pickle mt_pickle;

#define MT_PICKLE_UNKNOWN (-1)

typedef struct {
  /* What stands for the global "module.name" from here on, >= 0; or MT_PICKLE_UNKNOWN. */
  int (*find_global)(void *context, const char *name);
  /* The result of calling it: 1; 0 where these arguments mean nothing here: an INSTANCE is made. args: a TUPLE's. */
  int (*call)(void *context, mt_pickle *pickle, int64_t global, const mt_pickle_items *args, mt_pickle_value *result);
  /* Gives an OBJECT its state. */
  int (*build)(void *context, int64_t object, const mt_pickle_value *state);
  /* What a persistent id (a reference to something outside of the pickle) stands for. */
  int (*persistent)(void *context, const mt_pickle_value *id, mt_pickle_value *result);
} mt_pickle_hooks;

/* data must stay until mt_pickle_free, which also ends every value; `name` stands for the file in messages. */
mt_pickle *mt_pickle_new(const void *data, size_t size, const char *name, const mt_pickle_hooks *hooks, void *context);
void mt_pickle_free(mt_pickle *pickle); /* NULL is allowed */

/* The next of the pickles that stand one after the other in the data, and where the one after it begins. */
int mt_pickle_next(mt_pickle *pickle, mt_pickle_value *out);
size_t mt_pickle_position(const mt_pickle *pickle);
/* Whether an error was that the data ended too early. */
bool mt_pickle_ran_out(const mt_pickle *pickle);

/* For hooks: a new, empty container; one more item; room for a text that lives as long as the values. */
mt_pickle_items *mt_pickle_items_new(mt_pickle *pickle);
int mt_pickle_append(mt_pickle *pickle, mt_pickle_items *items, const mt_pickle_value *value);
char *mt_pickle_text_new(mt_pickle *pickle, size_t size);

const char *mt_pickle_kind_name(mt_pickle_kind kind);
bool mt_pickle_is_text(const mt_pickle_value *value, const char *text);

#endif
