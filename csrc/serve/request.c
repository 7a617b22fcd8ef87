#define _GNU_SOURCE
#include "serve/request.h"

#include <string.h>
#include <strings.h>

typedef struct {
  const char *at;
  size_t size;
} text;

static bool equals(text t, const char *word) { return t.size == strlen(word) && memcmp(t.at, word, t.size) == 0; }
static bool begins(text t, const char *word) {
  return t.size >= strlen(word) && strncasecmp(t.at, word, strlen(word)) == 0;
}

/* Cuts what is before `separator` off the front of `rest`; all of it where there is none. */
static text cut(text *rest, char separator) {
  const char *end = rest->size ? memchr(rest->at, separator, rest->size) : NULL;
  const text piece = {rest->at, end ? (size_t)(end - rest->at) : rest->size};
  const size_t used = piece.size + (end != NULL);
  *rest = (text){rest->at + used, rest->size - used};
  return piece;
}

static text cut_line(text *rest) {
  text line = cut(rest, '\n');
  if (line.size && line.at[line.size - 1] == '\r') line.size--;
  return line;
}

/* Whether it can be, or can still become, "METHOD TARGET HTTP/1.x". */
static bool can_be_request(text t) {
  bool in_method = true;
  for (size_t i = 0; i < t.size; i++) {
    const char c = t.at[i];
    if (c == '\r' && i + 1 == t.size) break;
    if (in_method && c == ' ' && i > 0)
      in_method = false;
    else if (in_method ? c < 'A' || c > 'Z' || i > 15 : c < ' ' || c > '~')
      return false;
  }
  return true;
}

static int status_of_line(text line, bool *with_body) {
  const text method = cut(&line, ' '), target = cut(&line, ' ');
  if (!equals(line, "HTTP/1.1") && !equals(line, "HTTP/1.0")) return 400;
  if (target.size == 0 || target.at[0] != '/') return 400;
  *with_body = !equals(method, "HEAD");
  if (*with_body && !equals(method, "GET")) return 405;
  return target.size == 1 || target.at[1] == '?' ? 200 : 404;
}

static bool is_local(text host) {
  return begins(host, "127.") || begins(host, "[::1]") || equals(host, "localhost") || begins(host, "localhost:");
}

static int status_of_fields(text rest, bool only_local) {
  bool local = !only_local;
  for (text line = cut_line(&rest); line.size; line = cut_line(&rest)) {
    text value = line;
    const text name = cut(&value, ':');
    if (name.size == 0 || name.size == line.size || memchr(line.at, 0, line.size)) return 400;
    while (value.size && value.at[0] == ' ') value = (text){value.at + 1, value.size - 1};
    if (name.size == 4 && begins(name, "host")) local = local || is_local(value);
  }
  return local ? 200 : 421;
}

mt_request mt_request_read(const char *data, size_t size, bool only_local) {
  mt_request request = {0, true};
  text rest = {data, size};
  const text line = cut_line(&rest);
  const bool has_line = memchr(data, '\n', size) != NULL;
  const int status = has_line ? status_of_line(line, &request.with_body) : 200;
  if (status == 400 || !can_be_request(line)) {
    request.status = 400;
  } else if (memmem(data, size, "\r\n\r\n", 4) || memmem(data, size, "\n\n", 2)) {
    const int fields = status_of_fields(rest, only_local);
    request.status = fields == 400 || status == 200 ? fields : status;
  }
  return request;
}
