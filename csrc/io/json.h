/* A strict JSON reader (RFC 8259) that walks the text without building a tree: the caller says what it expects next.
 *
 * The text need not end in a zero byte. Every function returns -1 with an MT_ERROR_FORMAT that gives the byte position
 * when the text is not what was asked for; after an error the reader must not be used. Nesting is limited, so that
 * hostile text cannot exhaust the C stack. Strings must be valid UTF-8 without zero bytes. */
#ifndef MT_IO_JSON_H
#define MT_IO_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/bytes.h"

#define MT_JSON_MAX_DEPTH 32

typedef struct {
  const char *start, *at, *end;
  const char *name; /* stands for the text in messages */
  int depth;
  char first; /* nothing of the object or array just entered was read */
} mt_json;

mt_json mt_json_reader(const char *text, size_t size, const char *name);

/* Objects: enter, then next_key until it returns 0 (1: a key was read into *key, zero-terminated; its value follows).
 */
int mt_json_enter_object(mt_json *json);
int mt_json_next_key(mt_json *json, mt_bytes *key);
/* Arrays: enter, then next_element until it returns 0 (1: an element follows). */
int mt_json_enter_array(mt_json *json);
int mt_json_next_element(mt_json *json);

/* Values. A string replaces the contents of *out and ends in a zero byte that its size does not count. */
int mt_json_string(mt_json *json, mt_bytes *out);
/* A whole number >= 0 without sign, fraction and exponent, up to 2^63 - 1. */
int mt_json_unsigned(mt_json *json, int64_t *out);
/* 1 when a null was taken, 0 when something else comes next. */
int mt_json_null(mt_json *json);
int mt_json_skip(mt_json *json);
/* Nothing but white space may be left. */
int mt_json_end(mt_json *json);

/* Whether it is UTF-8, as a string has to be. */
bool mt_json_is_text(const char *text, size_t size);
/* Writing: appends text as a quoted string; -1 with an MT_ERROR_ARGUMENT when it is not valid UTF-8. */
int mt_json_append_string(mt_bytes *out, const char *text);

#endif
