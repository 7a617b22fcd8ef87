/* What the pickle reader's opcodes (pickle.c) work on: the bytes, the stack, the containers. Not for other files. */
#ifndef MT_IO_PICKLE_STACK_H
#define MT_IO_PICKLE_STACK_H

#include "core/error.h"
#include "io/pickle.h"

/* Texts that are not in the data as they stand. */
typedef struct mt_pickle_text {
  struct mt_pickle_text *next;
  char text[];
} mt_pickle_text;

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
  mt_pickle_text *texts;
  size_t n_containers, n_items, text_bytes;
  bool stopped, ran_out;
};

#define fail_here(p, format, ...) \
  mt_fail(MT_ERROR_FORMAT, "load: '%s': pickle, byte %zu: " format, (p)->name, (p)->opcode_at, __VA_ARGS__)

/* ---- bytes: NULL or -1 with an error where they end ---- */
const uint8_t *mt_pickle_take(mt_pickle *p, uint64_t size);
int mt_pickle_take_unsigned(mt_pickle *p, int size, uint64_t *out);
/* The text up to the end of the line, which is skipped. */
int mt_pickle_take_line(mt_pickle *p, const char **text, size_t *size);

/* ---- the stack ---- */
int mt_pickle_push(mt_pickle *p, mt_pickle_value value);
/* The value on top, which is no mark; NULL with an error. */
mt_pickle_value *mt_pickle_top(mt_pickle *p);
int mt_pickle_pop(mt_pickle *p, mt_pickle_value *out);
/* The first value above the last mark; the mark itself stands below it. */
int mt_pickle_above_mark(mt_pickle *p, size_t *first);
/* Room for one more of `count` values. */
int mt_pickle_reserve(mt_pickle *p, mt_pickle_value **values, size_t count, size_t *capacity);

/* ---- containers ---- */
/* A new one with the stack's values from `first` on, in the place of those and of `below` more under them; with those
 * above the last mark, in the place of it too; a tuple of the last `count`. */
int mt_pickle_gather(mt_pickle *p, mt_pickle_kind kind, size_t first, size_t below);
int mt_pickle_gather_from_mark(mt_pickle *p, mt_pickle_kind kind);
int mt_pickle_gather_last(mt_pickle *p, size_t count);
/* The values above the last mark, or the last `count`, go into the list or dict below. */
int mt_pickle_extend_from_mark(mt_pickle *p, mt_pickle_kind kind);
int mt_pickle_extend_by(mt_pickle *p, mt_pickle_kind kind, size_t count);

#endif
