/* Errors of the core: a kind and a message, kept per thread until the next failure.
 *
 * Every core function that can fail returns -1 or NULL after calling mt_fail; the Lua binding
 * turns that into a Lua error in one place (lua/binding.c). Messages name the operation, the
 * argument, its value and what was expected: they are read by the user as they stand. */
#ifndef MT_CORE_ERROR_H
#define MT_CORE_ERROR_H

typedef enum {
  MT_ERROR_ARGUMENT, /* wrong shape, type or value */
  MT_ERROR_MEMORY,   /* allocation failed; worth one retry after a garbage collection */
  MT_ERROR_IO,       /* the operating system refused */
  MT_ERROR_FORMAT    /* a file is damaged or not what it claims to be */
} mt_error_kind;

/* Sets the message; always returns -1, so that `return mt_fail(...)` reads as what it does. */
int mt_fail(mt_error_kind kind, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define mt_fail_null(...) (mt_fail(__VA_ARGS__), NULL)

/* Sets an already written message, as it is (a callback's error passed on). */
int mt_fail_message(mt_error_kind kind, const char *message);

mt_error_kind mt_error_last_kind(void);
const char *mt_error_message(void);

#endif
