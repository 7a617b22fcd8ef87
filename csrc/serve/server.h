/* One page over HTTP, for browsers that look on while a program works.
 *
 * A thread of its own answers every request with the page that was published last; the program waits for nobody, and
 * nobody who asks can change or stop it: GET and HEAD of "/" are all there is, whatever else comes gets an error, who
 * is slow or silent is dropped after some seconds. */
#ifndef MT_SERVE_SERVER_H
#define MT_SERVE_SERVER_H

#include <stddef.h>

typedef struct mt_server mt_server;

/* Listens. `host` is an address of this machine as numbers (IPv4 or IPv6), `port` 0 any free one. */
mt_server *mt_server_new(const char *host, int port);
void mt_server_free(mt_server *server);

/* Where it listens: "127.0.0.1:8080", "[::1]:8080". */
const char *mt_server_address(const mt_server *server);

/* The page from now on: HTML in UTF-8, which is copied. */
int mt_server_publish(mt_server *server, const void *html, size_t size);

#endif
