#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local mt_error_kind last_kind;
static _Thread_local char last_message[1024];

int mt_fail(mt_error_kind kind, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(last_message, sizeof last_message, format, args);
  va_end(args);
  last_kind = kind;
  return -1;
}

int mt_fail_message(mt_error_kind kind, const char *message) {
  snprintf(last_message, sizeof last_message, "%s", message);
  last_kind = kind;
  return -1;
}

mt_error_kind mt_error_last_kind(void) { return last_kind; }

const char *mt_error_message(void) { return last_message; }
