/* Requests of HTTP/1.x, as far as a server of one page has to read them. */
#ifndef MT_SERVE_REQUEST_H
#define MT_SERVE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
  int status;     /* of the answer: 200, or that of an error; 0 while more has to come */
  bool with_body; /* false for HEAD */
} mt_request;

/* Reads what has come of a request. `only_local`: Host must name this machine, so that no site on the web can have its
 * visitors' browsers read the page under a name of its own (DNS rebinding). */
mt_request mt_request_read(const char *text, size_t size, bool only_local);

#endif
