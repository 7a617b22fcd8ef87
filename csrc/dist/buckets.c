#include "dist/buckets.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "autograd/tape.h"
#include "core/memory.h"
#include "dist/world.h"

#define LOOK_EVERY 300000 /* nanoseconds between two looks at messages under way */

/* Parameters first to first + count - 1 of mt_buckets.params. `values` are a flag for each (whether it has a gradient
 * here), then the gradients. */
typedef struct {
  int first, count;
  int missing; /* gradients that are not complete yet */
  int64_t floats;
  float *values;
  mt_exchange *exchange; /* NULL: has not begun */
  bool arrived;
  double begun_at, arrived_at; /* on a clock that never goes back */
} bucket;

typedef struct {
  const mt_tensor *parameter;
  int bucket;
} entry;

struct mt_buckets {
  mt_tensor **params; /* last first */
  int n_params;
  bucket *buckets;
  int n_buckets;
  entry *index;     /* sorted by address */
  int begun;        /* buckets 0 .. begun - 1 are under way or have arrived */
  double finish_at; /* when the last mt_buckets_finish was called */
  bool failed;
  mt_error_kind kind;
  char problem[512];
  pthread_t thread;
  bool has_thread, quit;
  bool resting; /* whoever calls mt_buckets_finish moves the messages: two would be in each other's way */
  pthread_mutex_t lock;
  pthread_cond_t work;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- layout ---- */

static int by_address(const void *a, const void *b) {
  const uintptr_t left = (uintptr_t)((const entry *)a)->parameter, right = (uintptr_t)((const entry *)b)->parameter;
  return (left > right) - (left < right);
}

static void begin_bucket(mt_buckets *b, int first) { b->buckets[b->n_buckets++] = (bucket){.first = first}; }

static int lay_out(mt_buckets *b, size_t bytes) {
  size_t filled = 0;
  for (int i = 0; i < b->n_params; i++) {
    const size_t own = (size_t)b->params[i]->count * sizeof(float);
    if (i == 0 || filled + own > bytes) {
      begin_bucket(b, i);
      filled = 0;
    }
    bucket *last = &b->buckets[b->n_buckets - 1];
    last->count++;
    last->floats += b->params[i]->count;
    filled += own;
    b->index[i] = (entry){b->params[i], b->n_buckets - 1};
  }
  qsort(b->index, (size_t)b->n_params, sizeof *b->index, by_address);
  for (int i = 0; i < b->n_buckets; i++) {
    b->buckets[i].floats += b->buckets[i].count;
    b->buckets[i].values = mt_alloc((size_t)b->buckets[i].floats * sizeof(float));
    if (!b->buckets[i].values) return -1;
  }
  return 0;
}

static bucket *bucket_of(mt_buckets *b, const mt_tensor *parameter) {
  const entry wanted = {.parameter = parameter};
  const entry *found = bsearch(&wanted, b->index, (size_t)b->n_params, sizeof wanted, by_address);
  return found ? &b->buckets[found->bucket] : NULL;
}

/* ---- messages ---- */

static void note_failure(mt_buckets *b) {
  if (b->failed) return;
  b->failed = true;
  b->kind = mt_error_last_kind();
  snprintf(b->problem, sizeof b->problem, "%s", mt_error_message());
}

/* Whether any bucket is still under way. */
static bool advance(mt_buckets *b) {
  bool open = false;
  mt_world_lock();
  for (int i = 0; i < b->begun && !b->failed; i++) {
    bucket *u = &b->buckets[i];
    if (u->arrived) continue;
    const int done = mt_exchange_advance(u->exchange);
    if (done < 0) note_failure(b);
    u->arrived = done > 0;
    if (u->arrived) u->arrived_at = now();
    open = open || done == 0;
  }
  const bool failed = b->failed;
  mt_world_unlock();
  return open && !failed;
}

static void *move_messages(void *context) {
  mt_buckets *b = context;
  pthread_mutex_lock(&b->lock);
  while (!b->quit) {
    pthread_mutex_unlock(&b->lock);
    const bool open = advance(b);
    if (open) nanosleep(&(struct timespec){0, LOOK_EVERY}, NULL);
    pthread_mutex_lock(&b->lock);
    while ((!open || b->resting) && !b->quit) {
      pthread_cond_wait(&b->work, &b->lock);
      if (!b->resting) break;
    }
  }
  pthread_mutex_unlock(&b->lock);
  return NULL;
}

static void rest(mt_buckets *b, bool resting) {
  pthread_mutex_lock(&b->lock);
  b->resting = resting;
  pthread_mutex_unlock(&b->lock);
}

static void wake(mt_buckets *b, bool quit) {
  pthread_mutex_lock(&b->lock);
  b->quit = quit;
  pthread_cond_signal(&b->work);
  pthread_mutex_unlock(&b->lock);
}

/* ---- gradients ---- */

static void pack(const mt_buckets *b, bucket *u) {
  float *value = u->values + u->count;
  for (int i = 0; i < u->count; i++) {
    const mt_tensor *parameter = b->params[u->first + i], *grad = parameter->grad;
    const size_t bytes = (size_t)parameter->count * sizeof(float);
    u->values[i] = grad ? 1.0f : 0.0f;
    if (grad)
      memcpy(value, grad->data, bytes);
    else
      memset(value, 0, bytes);
    value += parameter->count;
  }
}

static int unpack(const mt_buckets *b, const bucket *u) {
  const float *value = u->values + u->count;
  for (int i = 0; i < u->count; i++) {
    mt_tensor *parameter = b->params[u->first + i];
    if (u->values[i] > 0 && !parameter->grad) {
      parameter->grad = mt_tensor_new(MT_FLOAT32, parameter->ndim, parameter->shape);
      if (!parameter->grad) return -1;
    }
    if (u->values[i] > 0) {
      memcpy(parameter->grad->data, value, (size_t)parameter->count * sizeof(float));
      mt_touch(parameter->grad);
    }
    value += parameter->count;
  }
  return 0;
}

/* Sends the buckets that are complete, or all. */
static void send_buckets(mt_buckets *b, bool all) {
  const int before = b->begun;
  while (b->begun < b->n_buckets && !b->failed && (all || b->buckets[b->begun].missing == 0)) {
    bucket *u = &b->buckets[b->begun];
    pack(b, u);
    u->begun_at = now();
    mt_world_lock();
    u->exchange = mt_exchange_begin(u->values, u->floats, MT_SUM_F32, MT_REDUCE_SUM, 1);
    if (u->exchange)
      b->begun++;
    else
      note_failure(b);
    mt_world_unlock();
  }
  if (b->begun > before) wake(b, false);
}

static void leaf_complete(void *context, mt_tensor *leaf) {
  mt_buckets *b = context;
  bucket *u = bucket_of(b, leaf);
  if (u && u->missing > 0 && --u->missing == 0) send_buckets(b, false);
}

void mt_buckets_begin(mt_buckets *b) {
  for (int i = 0; i < b->n_buckets; i++) {
    b->buckets[i].missing = b->buckets[i].count;
    b->buckets[i].arrived = false;
  }
  rest(b, false);
  mt_watch_leaves(leaf_complete, b);
}

static void forget(mt_buckets *b) {
  for (int i = 0; i < b->begun; i++) {
    mt_exchange_free(b->buckets[i].exchange);
    b->buckets[i].exchange = NULL;
  }
  b->begun = 0;
}

int mt_buckets_finish(mt_buckets *b, double *waited) {
  b->finish_at = now();
  rest(b, true);
  char what[64];
  mt_watch_leaves(NULL, NULL);
  send_buckets(b, true);
  for (int i = 0; i < b->begun && !b->failed; i++) {
    snprintf(what, sizeof what, "the sum of gradients (bucket %d of %d)", i + 1, b->n_buckets);
    if (mt_exchange_wait(b->buckets[i].exchange, what) < 0) return -1;
    if (!b->buckets[i].arrived) b->buckets[i].arrived_at = now(); /* else the thread has seen it first */
  }
  if (b->failed) return mt_fail_message(b->kind, b->problem);
  *waited = now() - b->finish_at;
  mt_world_lock(); /* the thread may be looking at them */
  int status = 0;
  for (int i = 0; i < b->begun; i++)
    if (status == 0) status = unpack(b, &b->buckets[i]);
  forget(b);
  mt_world_unlock();
  return status;
}

/* ---- life ---- */

static int fill(mt_buckets *b, mt_tensor *const *params, int count) {
  b->params = calloc((size_t)count + 1, sizeof *b->params);
  b->buckets = calloc((size_t)count + 1, sizeof *b->buckets);
  b->index = calloc((size_t)count + 1, sizeof *b->index);
  if (!b->params || !b->buckets || !b->index)
    return mt_fail(MT_ERROR_MEMORY, "out of memory: buckets of %d parameters", count);
  for (int i = 0; i < count; i++) b->params[i] = mt_retain(params[count - 1 - i]);
  b->n_params = count;
  return 0;
}

mt_buckets *mt_buckets_new(mt_tensor *const *params, int count, size_t bytes) {
  for (int i = 0; i < count; i++)
    if (mt_expect_dtype(params[i], MT_FLOAT32, "dist.buckets", "a parameter") < 0) return NULL;
  mt_buckets *b = calloc(1, sizeof *b);
  if (!b) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: buckets of gradients");
  pthread_mutex_init(&b->lock, NULL);
  pthread_cond_init(&b->work, NULL);
  if (fill(b, params, count) == 0 && lay_out(b, bytes) == 0) {
    b->has_thread = pthread_create(&b->thread, NULL, move_messages, b) == 0;
    if (b->has_thread) return b;
    mt_fail(MT_ERROR_MEMORY, "dist.buckets: the system gives no thread");
  }
  mt_buckets_free(b);
  return NULL;
}

void mt_buckets_free(mt_buckets *b) {
  if (!b) return;
  mt_watch_leaves(NULL, NULL);
  if (b->has_thread) {
    wake(b, true);
    pthread_join(b->thread, NULL);
  }
  const bool idle = b->begun == 0; /* else messages may still arrive: their memory stays, and the run ends anyway */
  for (int i = 0; i < b->n_params; i++) mt_release(b->params[i]);
  for (int i = 0; idle && i < b->n_buckets; i++) mt_free(b->buckets[i].values);
  free(b->params);
  free(b->buckets);
  free(b->index);
  pthread_cond_destroy(&b->work);
  pthread_mutex_destroy(&b->lock);
  free(b);
}

int mt_buckets_count(const mt_buckets *b) { return b->n_buckets; }

mt_bucket_times mt_buckets_times(const mt_buckets *b, int number) {
  const bucket *u = &b->buckets[number];
  return (mt_bucket_times){.bytes = (double)u->floats * sizeof(float),
                           .begun = u->begun_at - b->finish_at,
                           .arrived = u->arrived_at - b->finish_at};
}
