/* The thread sleeps in poll over a pipe that ends it, the listening socket and at most CLIENTS connections; no socket
 * blocks. A connection takes one request and gives one answer, each within SECONDS, then is drained and closed: a
 * close with something unread would reset it, and the answer might be lost.
 *
 * Invariant: a page never changes once it is published. Whoever sends it holds a reference, under the server's lock; so
 * publishing waits for nothing but that lock, which is never held while anything is sent. */
#define _GNU_SOURCE
#include "serve/server.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/error.h"
#include "core/memory.h"
#include "serve/request.h"

#define CLIENTS 32
#define SECONDS 10       /* for a request, and for taking the answer */
#define DRAIN_SECONDS 2  /* for the other side to close */
#define PAUSE_SECONDS 1  /* without accepting, where the system has no more descriptors */
#define REQUEST_MAX 8192 /* browsers send their cookies of other servers of this host too */

typedef struct {
  size_t size;
  int references;
  char html[];
} page;

enum state { READING, SENDING, DRAINING };

typedef struct {
  int socket; /* -1: none */
  enum state state;
  int64_t deadline; /* milliseconds */
  char request[REQUEST_MAX];
  size_t received;
  char head[512];
  size_t head_size, sent;
  page *body;
} client;

struct mt_server {
  int listener, wake[2];
  bool is_local;
  pid_t process; /* a child of this process has no thread to wait for */
  pthread_t thread;
  pthread_mutex_t lock;
  page *page;
  int64_t pause_until;
  client clients[CLIENTS];
  char address[INET6_ADDRSTRLEN + 16];
};

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- pages ---- */

static void release_page(mt_server *server, page *p) {
  pthread_mutex_lock(&server->lock);
  const bool is_last = p && --p->references == 0;
  pthread_mutex_unlock(&server->lock);
  if (is_last) mt_free(p);
}

static page *current_page(mt_server *server) {
  pthread_mutex_lock(&server->lock);
  page *p = server->page;
  if (p) p->references++;
  pthread_mutex_unlock(&server->lock);
  return p;
}

int mt_server_publish(mt_server *server, const void *html, size_t size) {
  page *fresh = mt_alloc(sizeof *fresh + size);
  if (!fresh) return -1;
  *fresh = (page){.size = size, .references = 1};
  memcpy(fresh->html, html, size);
  pthread_mutex_lock(&server->lock);
  page *old = server->page;
  server->page = fresh;
  pthread_mutex_unlock(&server->lock);
  release_page(server, old);
  return 0;
}

/* ---- answers ---- */

static const char *reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 421:
      return "Misdirected Request";
    case 431:
      return "Request Header Fields Too Large";
    default:
      return "Service Unavailable";
  }
}

static void answer(mt_server *server, client *c, int status, bool with_body) {
  if (status == 200 && !(c->body = current_page(server))) status = 503;
  const char *reason = reason_of(status);
  const size_t size = c->body ? c->body->size : strlen(reason) + 1;
  int head = snprintf(c->head, sizeof c->head,
                      "HTTP/1.1 %d %s\r\nContent-Type: text/%s; charset=utf-8\r\nContent-Length: %zu\r\n%s"
                      "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
                      "Content-Security-Policy: default-src 'none'; script-src 'unsafe-inline'; "
                      "style-src 'unsafe-inline'; img-src data:; connect-src 'self'\r\nConnection: close\r\n\r\n",
                      status, reason, c->body ? "html" : "plain", size, status == 405 ? "Allow: GET, HEAD\r\n" : "");
  if (!c->body && with_body) head += snprintf(c->head + head, sizeof c->head - (size_t)head, "%s\n", reason);
  if (c->body && !with_body) {
    release_page(server, c->body);
    c->body = NULL;
  }
  c->head_size = (size_t)head;
  c->sent = 0;
  c->state = SENDING;
  c->deadline = now_ms() + SECONDS * 1000;
}

/* ---- connections ---- */

static void drop(mt_server *server, client *c) {
  if (c->socket >= 0) close(c->socket);
  if (c->body) release_page(server, c->body);
  c->socket = -1;
  c->body = NULL;
}

/* A place for a new connection: a free one, else that of whoever would be dropped first. */
static client *place_for(mt_server *server) {
  client *first = &server->clients[0];
  for (int i = 0; i < CLIENTS; i++) {
    client *c = &server->clients[i];
    if (c->socket < 0) return c;
    if (c->deadline < first->deadline) first = c;
  }
  drop(server, first);
  return first;
}

static void accept_client(mt_server *server) {
  const int descriptor = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (descriptor < 0) {
    const bool passes = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ECONNABORTED;
    if (!passes) server->pause_until = now_ms() + PAUSE_SECONDS * 1000;
    return;
  }
  client *c = place_for(server);
  c->socket = descriptor;
  c->state = READING;
  c->received = 0;
  c->deadline = now_ms() + SECONDS * 1000;
}

static bool is_transient(ssize_t result) {
  return result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

static void receive(mt_server *server, client *c) {
  const ssize_t got = recv(c->socket, c->request + c->received, REQUEST_MAX - c->received, 0);
  if (is_transient(got)) return;
  if (got <= 0) {
    drop(server, c);
    return;
  }
  c->received += (size_t)got;
  const mt_request request = mt_request_read(c->request, c->received, server->is_local);
  if (request.status)
    answer(server, c, request.status, request.with_body);
  else if (c->received == REQUEST_MAX)
    answer(server, c, 431, true);
}

static void send_more(mt_server *server, client *c) {
  const size_t total = c->head_size + (c->body ? c->body->size : 0);
  const char *from = c->sent < c->head_size ? c->head + c->sent : c->body->html + (c->sent - c->head_size);
  const size_t left = c->sent < c->head_size ? c->head_size - c->sent : total - c->sent;
  const ssize_t sent = send(c->socket, from, left, MSG_NOSIGNAL);
  if (is_transient(sent)) return;
  if (sent < 0) {
    drop(server, c);
    return;
  }
  c->sent += (size_t)sent;
  if (c->sent < total) return;
  shutdown(c->socket, SHUT_WR);
  c->state = DRAINING;
  c->deadline = now_ms() + DRAIN_SECONDS * 1000;
}

static void drain(mt_server *server, client *c) {
  char unread[4096];
  const ssize_t got = recv(c->socket, unread, sizeof unread, 0);
  if (got <= 0 && !is_transient(got)) drop(server, c);
}

static void serve_client(mt_server *server, client *c, short events) {
  if (now_ms() >= c->deadline) {
    drop(server, c);
  } else if (events) {
    if (c->state == READING)
      receive(server, c);
    else if (c->state == SENDING)
      send_more(server, c);
    else
      drain(server, c);
  }
}

/* ---- the thread ---- */

/* Milliseconds until something has to be done though nothing comes; -1: never. */
static int patience(const mt_server *server) {
  const int64_t now = now_ms();
  int64_t first = server->pause_until > now ? server->pause_until : INT64_MAX;
  for (int i = 0; i < CLIENTS; i++)
    if (server->clients[i].socket >= 0 && server->clients[i].deadline < first) first = server->clients[i].deadline;
  return first == INT64_MAX ? -1 : first <= now ? 0 : (int)(first - now);
}

static void *run(void *argument) {
  mt_server *server = argument;
  struct pollfd set[2 + CLIENTS];
  for (;;) {
    const bool is_paused = server->pause_until > now_ms();
    set[0] = (struct pollfd){server->wake[0], POLLIN, 0};
    set[1] = (struct pollfd){is_paused ? -1 : server->listener, POLLIN, 0};
    for (int i = 0; i < CLIENTS; i++)
      set[2 + i] =
          (struct pollfd){server->clients[i].socket, server->clients[i].state == SENDING ? POLLOUT : POLLIN, 0};
    if (poll(set, 2 + CLIENTS, patience(server)) < 0) continue;
    if (set[0].revents) return NULL;
    for (int i = 0; i < CLIENTS; i++)
      if (set[2 + i].fd >= 0) serve_client(server, &server->clients[i], set[2 + i].revents);
    if (set[1].revents) accept_client(server);
  }
}

/* The thread takes no signals: they are the program's. */
static int start_thread(mt_server *server) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int reason = pthread_create(&server->thread, NULL, run, server);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (reason) return mt_fail(MT_ERROR_IO, "serve: cannot start a thread: %s", strerror(reason));
  server->process = getpid();
  return 0;
}

/* ---- beginning and end ---- */

static bool is_loopback(const struct sockaddr *address) {
  if (address->sa_family == AF_INET6) return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
  return (ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24) == 127;
}

/* Writes down where the socket listens. */
static int note_address(mt_server *server) {
  struct sockaddr_storage address;
  socklen_t size = sizeof address;
  char host[INET6_ADDRSTRLEN], port[8];
  struct sockaddr *any = (struct sockaddr *)&address;
  if (getsockname(server->listener, any, &size) < 0 ||
      getnameinfo(any, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return -1;
  server->is_local = is_loopback(any);
  snprintf(server->address, sizeof server->address, any->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
  return 0;
}

static int listen_at(mt_server *server, const struct addrinfo *at) {
  const int yes = 1;
  server->listener = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (server->listener < 0) return -1;
  if (at->ai_family == AF_INET6) setsockopt(server->listener, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
  setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(server->listener, at->ai_addr, at->ai_addrlen) < 0 || listen(server->listener, CLIENTS) < 0) return -1;
  return note_address(server);
}

static int open_listener(mt_server *server, const char *host, int port) {
  char service[8];
  snprintf(service, sizeof service, "%d", port);
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
  struct addrinfo *found = NULL;
  if (getaddrinfo(host, service, &hints, &found) != 0)
    return mt_fail(MT_ERROR_ARGUMENT, "serve: host is '%s', expected an address of this machine such as 127.0.0.1",
                   host);
  const int status = listen_at(server, found), reason = errno;
  freeaddrinfo(found);
  if (status == 0) return 0;
  return mt_fail(MT_ERROR_IO, "serve: cannot listen at %s, port %d: %s", host, port, strerror(reason));
}

mt_server *mt_server_new(const char *host, int port) {
  mt_server *server = mt_alloc(sizeof *server);
  if (!server) return NULL;
  *server = (mt_server){.listener = -1, .wake = {-1, -1}};
  for (int i = 0; i < CLIENTS; i++) server->clients[i].socket = -1;
  pthread_mutex_init(&server->lock, NULL);
  if (open_listener(server, host, port) < 0) goto failed;
  if (pipe2(server->wake, O_CLOEXEC) < 0) {
    mt_fail(MT_ERROR_IO, "serve: cannot make a pipe: %s", strerror(errno));
    goto failed;
  }
  if (start_thread(server) < 0) goto failed;
  return server;
failed:
  mt_server_free(server);
  return NULL;
}

static void close_if_open(int descriptor) {
  if (descriptor >= 0) close(descriptor);
}

void mt_server_free(mt_server *server) {
  if (!server) return;
  if (server->process == getpid()) {
    close(server->wake[1]);
    server->wake[1] = -1;
    pthread_join(server->thread, NULL);
  }
  for (int i = 0; i < CLIENTS; i++) drop(server, &server->clients[i]);
  if (server->page) release_page(server, server->page);
  close_if_open(server->listener);
  close_if_open(server->wake[0]);
  close_if_open(server->wake[1]);
  pthread_mutex_destroy(&server->lock);
  mt_free(server);
}

const char *mt_server_address(const mt_server *server) { return server->address; }
