#include "dist/world.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/error.h"

#define PIECE ((size_t)16 << 20)        /* bytes of one message of a broadcast */
#define MOST_AT_ONCE ((size_t)1 << 30)  /* bytes of any message: MPI counts in ints */
#define IN_ONE_ROUND ((size_t)32 << 10) /* bytes that a rank may send so that a sum takes one round instead of two */
#define LANE_TAGS 8192                  /* tags of a lane; below MPI's least upper bound of 32,767 */
#define HEAD_START 1                    /* seconds that rank 0 has to report what happens to all */
#define LANES 3                         /* 0 and 1: exchanges; 2: broadcast and gather */

static struct {
  const mt_transport *transport;
  pthread_mutex_t lock;
  double timeout;
  unsigned next[LANES];
} world = {.lock = PTHREAD_MUTEX_INITIALIZER, .timeout = 600};

int mt_world_start(const mt_transport *transport) {
  if (world.transport) return mt_fail(MT_ERROR_ARGUMENT, "dist: the world has been started already");
  world.transport = transport;
  return 0;
}

int mt_world_rank(void) { return world.transport ? world.transport->rank : 0; }
int mt_world_size(void) { return world.transport ? world.transport->size : 1; }
const char *mt_world_library(void) { return world.transport ? world.transport->library : NULL; }
double mt_world_timeout(void) { return world.timeout; }
void mt_world_set_timeout(double seconds) { world.timeout = seconds; }
void mt_world_lock(void) { pthread_mutex_lock(&world.lock); }
void mt_world_unlock(void) { pthread_mutex_unlock(&world.lock); }

void mt_world_abort(const char *message) {
  if (mt_world_rank() > 0) sleep(HEAD_START);
  fprintf(stderr, "%s\n", message);
  if (world.transport) world.transport->abort(1);
  exit(1);
}

static int next_tag(int lane) { return lane * LANE_TAGS + (int)(world.next[lane]++ % LANE_TAGS); }

/* ---- requests ---- */

typedef struct {
  void *handle; /* NULL: done */
  int peer;
  bool receives;
} request;

typedef struct {
  request *items;
  int count, open;
} request_list;

static int requests_new(request_list *list, int most) {
  *list = (request_list){.items = calloc((size_t)most, sizeof(request))};
  return list->items ? 0 : mt_fail(MT_ERROR_MEMORY, "out of memory: requests to %d ranks", mt_world_size());
}

static int transport_failed(void) {
  return mt_fail(MT_ERROR_IO, "dist: rank %d: %s: %s", mt_world_rank(), mt_world_library(), world.transport->problem());
}

static int post(request_list *list, bool receives, void *data, size_t bytes, int peer, int tag) {
  void *handle =
      receives ? world.transport->receive(data, bytes, peer, tag) : world.transport->send(data, bytes, peer, tag);
  if (!handle) return transport_failed();
  list->items[list->count++] = (request){handle, peer, receives};
  list->open++;
  return 0;
}

/* 1: all are done; 0: not yet. */
static int requests_advance(request_list *list) {
  for (int i = 0; list->open > 0 && i < list->count; i++) {
    if (!list->items[i].handle) continue;
    const int done = world.transport->test(list->items[i].handle);
    if (done < 0) return transport_failed();
    if (!done) continue;
    list->items[i].handle = NULL;
    list->open--;
  }
  return list->open == 0;
}

static void requests_again(request_list *list) { list->count = list->open = 0; }

/* ---- waiting ---- */

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#define SPIN 5e-5 /* seconds; then the core is left to others, whose turn it may be */

static void pause_after(double waited) {
  if (waited < SPIN) {
    sched_yield();
  } else {
    nanosleep(&(struct timespec){0, 20000}, NULL);
  }
}

/* "rank 3", "ranks 1, 2, 5 and 60 more" into text. */
static void name_missing(const request_list *list, char *text, size_t size) {
  int missing = 0, last = -1;
  size_t at = 0;
  for (int receives = 1; receives >= 0 && missing == 0; receives--)
    for (int i = 0; i < list->count; i++) {
      const request *r = &list->items[i];
      if (!r->handle || r->receives != receives || r->peer == last) continue;
      last = r->peer;
      if (++missing <= 8 && at < size)
        at += (size_t)snprintf(text + at, size - at, "%s%d", missing > 1 ? ", " : "", r->peer);
    }
  if (missing > 8 && at < size) snprintf(text + at, size - at, " and %d more", missing - 8);
}

static bool waits_for(const request_list *list, int peer) {
  for (int i = 0; i < list->count; i++)
    if (list->items[i].handle && list->items[i].peer == peer && list->items[i].receives) return true;
  return false;
}

typedef struct {
  const char *what;
  double began;
  int open;
} watch;

/* To be called between two looks at requests that are not done: sleeps a little, or fails. */
static int keep_waiting(watch *w, const request_list *list) {
  char missing[160] = "";
  const double at = now();
  if (list->open != w->open) w->began = at;
  w->open = list->open;
  mt_world_lock();
  const int left = world.transport->left();
  const bool gone = left >= 0 && waits_for(list, left);
  if (gone || at - w->began > world.timeout) name_missing(list, missing, sizeof missing);
  mt_world_unlock();
  if (gone)
    return mt_fail(MT_ERROR_IO, "dist: rank %d has ended while rank %d waits for it in %s", left, mt_world_rank(),
                   w->what);
  if (missing[0])
    return mt_fail(MT_ERROR_IO,
                   "dist: rank %d has waited %.0f seconds for rank %s in %s: they hang, are cut off, or do something "
                   "else (all ranks must do the same; mt.dist.set_timeout allows longer waits)",
                   mt_world_rank(), world.timeout, missing, w->what);
  pause_after(at - w->began);
  return 0;
}

static int wait_for(request_list *list, const char *what) {
  watch w = {what, now(), list->open};
  for (;;) {
    mt_world_lock();
    const int done = requests_advance(list);
    mt_world_unlock();
    if (done != 0) return done < 0 ? -1 : 0;
    if (keep_waiting(&w, list) < 0) return -1;
  }
}

/* ---- reductions ---- */

/* Every rank owns a share of the values. In the first round all send it their parts of it, which it takes together in
 * the order of the ranks; in the second it sends the result to all. That is 2 (n-1)/n of the values out of and into
 * every rank, as with a ring, but two messages deep instead of 2 (n-1). Few values go to everybody in one round. */
struct mt_exchange {
  void *data;
  int64_t count;
  size_t width; /* bytes of a value */
  mt_number type;
  mt_reduction op;
  int tag;
  bool one_round, second;
  char *parts; /* the others' parts of the share, in the order of ranks */
  request_list requests;
};

static int64_t share_begin(const mt_exchange *e, int rank) { return e->count * rank / mt_world_size(); }

static int64_t share_count(const mt_exchange *e, int rank) {
  return e->one_round ? e->count : share_begin(e, rank + 1) - share_begin(e, rank);
}

static char *share_of(const mt_exchange *e, int rank) {
  return (char *)e->data + (e->one_round ? 0 : (size_t)share_begin(e, rank) * e->width);
}

#define REDUCE(type, result, part, count)                                           \
  do {                                                                              \
    type *into = (type *)(result);                                                  \
    const type *from = (const type *)(part);                                        \
    for (int64_t i = 0; i < (count); i++) {                                         \
      if (op == MT_REDUCE_SUM)                                                      \
        into[i] += from[i];                                                         \
      else if (op == MT_REDUCE_MAX ? !(into[i] >= from[i]) : !(into[i] <= from[i])) \
        into[i] = from[i];                                                          \
    }                                                                               \
  } while (0)

static void reduce_into(void *result, const void *part, int64_t count, mt_number type, mt_reduction op) {
  if (type == MT_SUM_F32)
    REDUCE(float, result, part, count);
  else
    REDUCE(double, result, part, count);
}

/* The parts of ranks 0, 1, ... of the share, taken together in that order, end in its place. */
static void reduce_parts(mt_exchange *e) {
  const int own = mt_world_rank(), size = mt_world_size();
  const int64_t count = share_count(e, own);
  const size_t bytes = (size_t)count * e->width;
  char *share = share_of(e, own), *first = own == 0 ? share : e->parts;
  const char *next = own == 0 ? e->parts : e->parts + bytes;
  for (int rank = 1; rank < size; rank++) {
    const bool mine = rank == own;
    reduce_into(first, mine ? share : next, count, e->type, e->op);
    if (!mine) next += bytes;
  }
  if (first != share) memcpy(share, first, bytes);
}

static int post_first_round(mt_exchange *e) {
  const int own = mt_world_rank(), size = mt_world_size();
  const size_t bytes = (size_t)share_count(e, own) * e->width;
  char *part = e->parts;
  for (int rank = 0; rank < size; rank++) {
    if (rank == own) continue;
    if (bytes && post(&e->requests, true, part, bytes, rank, e->tag) < 0) return -1;
    part += bytes;
  }
  for (int step = 1; step < size; step++) { /* each begins with its neighbour, so that nobody is swamped */
    const int rank = (own + step) % size;
    const size_t theirs = (size_t)share_count(e, rank) * e->width;
    if (theirs && post(&e->requests, false, share_of(e, rank), theirs, rank, e->tag) < 0) return -1;
  }
  return 0;
}

static int post_second_round(mt_exchange *e) {
  const int own = mt_world_rank(), size = mt_world_size();
  const size_t bytes = (size_t)share_count(e, own) * e->width;
  requests_again(&e->requests);
  for (int step = 1; step < size; step++) {
    const int rank = (own + step) % size;
    const size_t theirs = (size_t)share_count(e, rank) * e->width;
    if (theirs && post(&e->requests, true, share_of(e, rank), theirs, rank, e->tag) < 0) return -1;
    if (bytes && post(&e->requests, false, share_of(e, own), bytes, rank, e->tag) < 0) return -1;
  }
  e->second = true;
  return 0;
}

mt_exchange *mt_exchange_begin(void *data, int64_t count, mt_number type, mt_reduction op, int lane) {
  const int others = mt_world_size() - 1;
  mt_exchange *e = calloc(1, sizeof *e);
  if (!e) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: reduction over ranks");
  *e = (mt_exchange){.data = data,
                     .count = count,
                     .width = type == MT_SUM_F32 ? sizeof(float) : sizeof(double),
                     .type = type,
                     .op = op,
                     .tag = next_tag(lane)};
  e->one_round = (size_t)count * e->width * (size_t)others <= IN_ONE_ROUND;
  const size_t parts = (size_t)share_count(e, mt_world_rank()) * e->width * (size_t)others;
  e->parts = malloc(parts ? parts : 1);
  if (e->parts && requests_new(&e->requests, 2 * others + 1) == 0 && post_first_round(e) == 0) return e;
  if (!e->parts) mt_fail(MT_ERROR_MEMORY, "out of memory: %zu bytes for a reduction over ranks", parts);
  mt_exchange_free(e);
  return NULL;
}

int mt_exchange_advance(mt_exchange *e) {
  const int done = requests_advance(&e->requests);
  if (done <= 0) return done;
  if (e->second) return 1;
  reduce_parts(e);
  if (e->one_round) return e->second = true;
  return post_second_round(e) < 0 ? -1 : 0;
}

void mt_exchange_free(mt_exchange *e) {
  if (!e) return;
  free(e->requests.items);
  free(e->parts);
  free(e);
}

int mt_exchange_wait(mt_exchange *e, const char *what) {
  watch w = {what, now(), -1};
  for (;;) {
    mt_world_lock();
    const int done = mt_exchange_advance(e);
    mt_world_unlock();
    if (done != 0) return done < 0 ? -1 : 0;
    if (keep_waiting(&w, &e->requests) < 0) return -1;
  }
}

/* ---- what all do together, at once ---- */

static int reduce_some(void *data, int64_t count, mt_number type, mt_reduction op, const char *what) {
  mt_world_lock();
  mt_exchange *e = mt_exchange_begin(data, count, type, op, 0);
  mt_world_unlock();
  if (!e) return -1;
  const int status = mt_exchange_wait(e, what);
  if (status == 0) mt_exchange_free(e); /* else messages may still arrive in its memory; the run ends anyway */
  return status;
}

int mt_world_reduce(void *data, int64_t count, mt_number type, mt_reduction op, const char *what) {
  const size_t width = type == MT_SUM_F32 ? sizeof(float) : sizeof(double);
  const int64_t most = (int64_t)(MOST_AT_ONCE / width);
  if (mt_world_size() == 1) return 0;
  for (int64_t first = 0; first < count; first += most) {
    const int64_t some = count - first < most ? count - first : most;
    if (reduce_some((char *)data + (size_t)first * width, some, type, op, what) < 0) return -1;
  }
  return 0;
}

int mt_world_sum(double *values, int64_t count) {
  return mt_world_reduce(values, count, MT_SUM_F64, MT_REDUCE_SUM, "a sum of statistics");
}

int mt_world_barrier(const char *what) {
  double here = 1;
  return mt_world_reduce(&here, 1, MT_SUM_F64, MT_REDUCE_SUM, what);
}

/* A piece goes down a binomial tree: in round k the ranks below 2^k (counted from the root) send it to those 2^k on. */
static int broadcast_piece(void *data, size_t bytes, int root, request_list *list, const char *what) {
  const int size = mt_world_size(), own = (mt_world_rank() - root + size) % size;
  mt_world_lock();
  const int tag = next_tag(2);
  mt_world_unlock();
  int reach = 1;
  requests_again(list);
  if (own > 0) {
    while (2 * reach <= own) reach *= 2;
    mt_world_lock();
    const int status = post(list, true, data, bytes, (own - reach + root) % size, tag);
    mt_world_unlock();
    if (status < 0 || wait_for(list, what) < 0) return -1;
    requests_again(list);
    reach *= 2;
  }
  int status = 0;
  mt_world_lock();
  for (; status == 0 && own + reach < size; reach *= 2)
    status = post(list, false, data, bytes, (own + reach + root) % size, tag);
  mt_world_unlock();
  return status < 0 ? -1 : wait_for(list, what);
}

int mt_world_broadcast(void *data, size_t bytes, int root, const char *what) {
  request_list list;
  int status = 0;
  if (mt_world_size() == 1 || bytes == 0) return 0;
  if (requests_new(&list, 32) < 0) return -1;
  for (size_t first = 0; status == 0 && first < bytes; first += PIECE)
    status = broadcast_piece((char *)data + first, bytes - first < PIECE ? bytes - first : PIECE, root, &list, what);
  free(list.items);
  return status;
}

int mt_world_gather(const void *own, const size_t *bytes, void *all, const char *what) {
  const int rank = mt_world_rank(), size = mt_world_size();
  request_list list;
  size_t at = 0;
  int status = 0;
  for (int i = 0; i < size; i++)
    if (bytes[i] > MOST_AT_ONCE)
      return mt_fail(MT_ERROR_ARGUMENT, "dist: rank %d gathers %zu bytes, expected at most %zu", i, bytes[i],
                     MOST_AT_ONCE);
  if (requests_new(&list, 2 * size) < 0) return -1;
  mt_world_lock();
  const int tag = next_tag(2);
  for (int i = 0; status == 0 && i < size; at += bytes[i++]) {
    if (i == rank && bytes[i]) memcpy((char *)all + at, own, bytes[i]);
    if (i == rank) continue;
    if (bytes[i]) status = post(&list, true, (char *)all + at, bytes[i], i, tag);
    if (status == 0 && bytes[rank]) status = post(&list, false, (void *)(uintptr_t)own, bytes[rank], i, tag);
  }
  mt_world_unlock();
  if (status == 0) status = wait_for(&list, what);
  free(list.items);
  return status;
}
