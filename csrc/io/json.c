#include "io/json.h"

#include <stdio.h>
#include <string.h>

#include "core/error.h"

mt_json mt_json_reader(const char *text, size_t size, const char *name) {
  return (mt_json){.start = text, .at = text, .end = text + size, .name = name};
}

static int fail_expected(const mt_json *json, const char *expected) {
  return mt_fail(MT_ERROR_FORMAT, "'%s': JSON text at byte %lld: %s expected%s", json->name,
                 (long long)(json->at - json->start), expected, json->at == json->end ? ", but the text ends" : "");
}

static void skip_space(mt_json *json) {
  while (json->at < json->end && strchr(" \t\r\n", *json->at) && *json->at) json->at++;
}

/* Takes one punctuation character, if it is there. */
static bool take(mt_json *json, char c) {
  skip_space(json);
  if (json->at == json->end || *json->at != c) return false;
  json->at++;
  return true;
}

/* ---- objects and arrays ---- */

static int enter(mt_json *json, char bracket, const char *expected) {
  if (!take(json, bracket)) return fail_expected(json, expected);
  if (++json->depth > MT_JSON_MAX_DEPTH) return fail_expected(json, "less nesting");
  json->first = 1;
  return 0;
}

/* 1: another item follows; 0: the closing bracket was taken. */
static int next_item(mt_json *json, char bracket, const char *expected) {
  const bool first = json->first;
  json->first = 0;
  if (take(json, bracket)) {
    json->depth--;
    return 0;
  }
  if (!first && !take(json, ',')) return fail_expected(json, expected);
  return 1;
}

int mt_json_enter_object(mt_json *json) { return enter(json, '{', "object"); }

int mt_json_enter_array(mt_json *json) { return enter(json, '[', "array"); }

int mt_json_next_element(mt_json *json) { return next_item(json, ']', "',' or ']'"); }

int mt_json_next_key(mt_json *json, mt_bytes *key) {
  const int more = next_item(json, '}', "',' or '}'");
  if (more != 1) return more;
  if (mt_json_string(json, key) < 0) return -1;
  return take(json, ':') ? 1 : fail_expected(json, "':'");
}

/* ---- strings ---- */

/* The length of the valid UTF-8 sequence at p (RFC 3629: no overlong forms, no surrogates), or 0. */
static int utf8_length(const uint8_t *p, const uint8_t *end) {
  const int length = *p < 0x80                 ? 1
                     : *p >= 0xc2 && *p < 0xe0 ? 2
                     : *p >= 0xe0 && *p < 0xf0 ? 3
                     : *p >= 0xf0 && *p < 0xf5 ? 4
                                               : 0;
  if (length == 0 || end - p < length) return 0;
  for (int i = 1; i < length; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  const bool overlong = (*p == 0xe0 && p[1] < 0xa0) || (*p == 0xf0 && p[1] < 0x90);
  const bool surrogate = *p == 0xed && p[1] >= 0xa0;
  const bool too_large = *p == 0xf4 && p[1] >= 0x90;
  return overlong || surrogate || too_large ? 0 : length;
}

static int append_code_point(mt_bytes *out, uint32_t code) {
  uint8_t bytes[4];
  size_t n = 0;
  if (code < 0x80) {
    bytes[n++] = (uint8_t)code;
  } else if (code < 0x800) {
    bytes[n++] = (uint8_t)(0xc0 | code >> 6);
    bytes[n++] = (uint8_t)(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    bytes[n++] = (uint8_t)(0xe0 | code >> 12);
    bytes[n++] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
    bytes[n++] = (uint8_t)(0x80 | (code & 0x3f));
  } else {
    bytes[n++] = (uint8_t)(0xf0 | code >> 18);
    bytes[n++] = (uint8_t)(0x80 | (code >> 12 & 0x3f));
    bytes[n++] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
    bytes[n++] = (uint8_t)(0x80 | (code & 0x3f));
  }
  return mt_bytes_append(out, bytes, n);
}

static int read_hex4(mt_json *json, uint32_t *code) {
  *code = 0;
  for (int i = 0; i < 4; i++, json->at++) {
    const char *digits = "0123456789abcdef";
    const char *digit = json->at < json->end && *json->at ? strchr(digits, *json->at | 0x20) : NULL;
    if (!digit) return fail_expected(json, "hexadecimal digit");
    *code = *code << 4 | (uint32_t)(digit - digits);
  }
  return 0;
}

/* After "\u": one code point, which may be a pair of surrogates. */
static int read_unicode_escape(mt_json *json, mt_bytes *out) {
  uint32_t code, low;
  if (read_hex4(json, &code) < 0) return -1;
  if (code >= 0xd800 && code < 0xdc00) {
    if (json->end - json->at < 2 || json->at[0] != '\\' || json->at[1] != 'u')
      return fail_expected(json, "second half of a surrogate pair");
    json->at += 2;
    if (read_hex4(json, &low) < 0) return -1;
    if (low < 0xdc00 || low > 0xdfff) return fail_expected(json, "second half of a surrogate pair");
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  } else if (code >= 0xdc00 && code < 0xe000) {
    return fail_expected(json, "first half of a surrogate pair");
  }
  if (code == 0) return fail_expected(json, "character other than zero");
  return append_code_point(out, code);
}

static int read_escape(mt_json *json, mt_bytes *out) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  if (json->at == json->end) return fail_expected(json, "escape");
  const char c = *json->at;
  const char *plain = c ? strchr(from, c) : NULL;
  if (!plain && c != 'u') return fail_expected(json, "escape");
  json->at++;
  return plain ? mt_bytes_append(out, &to[plain - from], 1) : read_unicode_escape(json, out);
}

int mt_json_string(mt_json *json, mt_bytes *out) {
  out->size = 0;
  if (!take(json, '"')) return fail_expected(json, "string");
  for (;;) {
    if (json->at == json->end) return fail_expected(json, "'\"'");
    const uint8_t c = (uint8_t)*json->at;
    if (c < 0x20) return fail_expected(json, "no control character in a string");
    int length = utf8_length((const uint8_t *)json->at, (const uint8_t *)json->end);
    if (length == 0) return fail_expected(json, "valid UTF-8");
    if (c == '"') break;
    if (c == '\\') {
      json->at++;
      if (read_escape(json, out) < 0) return -1;
      continue;
    }
    if (mt_bytes_append(out, json->at, (size_t)length) < 0) return -1;
    json->at += length;
  }
  json->at++;
  if (mt_bytes_append(out, "", 1) < 0) return -1;
  out->size--;
  return 0;
}

/* ---- numbers and the rest ---- */

static bool is_digit(const mt_json *json) { return json->at < json->end && *json->at >= '0' && *json->at <= '9'; }

int mt_json_unsigned(mt_json *json, int64_t *out) {
  skip_space(json);
  const char *first = json->at;
  if (!is_digit(json)) return fail_expected(json, "whole number >= 0");
  for (*out = 0; is_digit(json); json->at++) {
    if (__builtin_mul_overflow(*out, 10, out) || __builtin_add_overflow(*out, *json->at - '0', out))
      return fail_expected(json, "number below 2^63");
  }
  const bool leading_zero = *first == '0' && json->at - first > 1;
  const bool fraction = json->at < json->end && *json->at && strchr(".eE", *json->at);
  return leading_zero || fraction ? fail_expected(json, "whole number >= 0") : 0;
}

static int skip_digits(mt_json *json) {
  if (!is_digit(json)) return fail_expected(json, "digit");
  while (is_digit(json)) json->at++;
  return 0;
}

static bool take_here(mt_json *json, const char *set) {
  if (json->at == json->end || !*json->at || !strchr(set, *json->at)) return false;
  json->at++;
  return true;
}

static int skip_number(mt_json *json) {
  take_here(json, "-");
  if (!take_here(json, "0") && skip_digits(json) < 0) return -1;
  if (take_here(json, ".") && skip_digits(json) < 0) return -1;
  if (take_here(json, "eE")) {
    take_here(json, "+-");
    return skip_digits(json);
  }
  return 0;
}

static bool take_word(mt_json *json, const char *word) {
  const size_t length = strlen(word);
  if ((size_t)(json->end - json->at) < length || memcmp(json->at, word, length) != 0) return false;
  json->at += length;
  return true;
}

int mt_json_null(mt_json *json) {
  skip_space(json);
  return take_word(json, "null");
}

static int skip_word(mt_json *json) {
  const bool taken = take_word(json, "true") || take_word(json, "false") || take_word(json, "null");
  return taken ? 0 : fail_expected(json, "value");
}

static int skip_string(mt_json *json) {
  mt_bytes ignored = {0};
  const int status = mt_json_string(json, &ignored);
  mt_bytes_free(&ignored);
  return status;
}

static int skip_object(mt_json *json) {
  mt_bytes key = {0};
  int status = mt_json_enter_object(json);
  while (status == 0 && (status = mt_json_next_key(json, &key)) == 1) status = mt_json_skip(json);
  mt_bytes_free(&key);
  return status;
}

static int skip_array(mt_json *json) {
  int status = mt_json_enter_array(json);
  while (status == 0 && (status = mt_json_next_element(json)) == 1) status = mt_json_skip(json);
  return status;
}

int mt_json_skip(mt_json *json) {
  skip_space(json);
  switch (json->at < json->end ? *json->at : '\0') {
    case '{':
      return skip_object(json);
    case '[':
      return skip_array(json);
    case '"':
      return skip_string(json);
    case '-':
    case '0' ... '9':
      return skip_number(json);
    default:
      return skip_word(json);
  }
}

int mt_json_end(mt_json *json) {
  skip_space(json);
  return json->at == json->end ? 0 : fail_expected(json, "end of the text");
}

/* ---- writing ---- */

bool mt_json_is_text(const char *text, size_t size) {
  const uint8_t *p = (const uint8_t *)text, *end = p + size;
  while (p < end) {
    const int length = utf8_length(p, end);
    if (length == 0) return false;
    p += length;
  }
  return true;
}

int mt_json_append_string(mt_bytes *out, const char *text) {
  const uint8_t *p = (const uint8_t *)text, *end = p + strlen(text);
  if (mt_bytes_append(out, "\"", 1) < 0) return -1;
  while (p < end) {
    const int length = utf8_length(p, end);
    char escape[8];
    if (length == 0) return mt_fail(MT_ERROR_ARGUMENT, "'%s' is not valid UTF-8", text);
    if (*p < 0x20 || *p == '"' || *p == '\\') {
      snprintf(escape, sizeof escape, "\\u%04x", *p);
      if (mt_bytes_append(out, escape, 6) < 0) return -1;
    } else if (mt_bytes_append(out, p, (size_t)length) < 0) {
      return -1;
    }
    p += length;
  }
  return mt_bytes_append(out, "\"", 1);
}
