/* The pool of core/threads.h under stress, as eight workers whatever the machine has; threads_spec.lua builds and runs
 * it. Prints "ok", or what went wrong. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/machine.h"
#include "core/threads.h"

enum { WORKERS = 8, MOST = 20000 };

int mt_machine_cores(void) { return WORKERS; }

#define EXPECT(condition)                                             \
  do {                                                                \
    if (!(condition)) {                                               \
      printf("%s:%d: expected %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

typedef struct {
  int64_t n, chunk;
  int *seen; /* how often each iteration was done; plain: a race would be seen by the sanitizer */
  atomic_bool *busy;
  atomic_int *begun; /* of each worker */
  int nested;        /* iterations of a loop within each body */
} check;

static void count_up(const void *context, int64_t begin, int64_t end) {
  int *counts = *(int *const *)context;
  for (int64_t i = begin; i < end; i++) counts[i]++;
}

static void check_range(const void *context, int64_t begin, int64_t end) {
  const check *c = context;
  const int worker = mt_worker();
  EXPECT(begin % c->chunk == 0 && (end - begin == c->chunk || end == c->n));
  EXPECT(worker >= 0 && worker < WORKERS && worker < mt_num_threads() && worker < (c->n + c->chunk - 1) / c->chunk);
  EXPECT(!atomic_exchange(&c->busy[worker], true));
  if (mt_worker_begins()) atomic_fetch_add(&c->begun[worker], 1);
  EXPECT(atomic_load(&c->begun[worker]) == 1);
  for (int64_t i = begin; i < end; i++) c->seen[i]++;
  if (c->nested > 0) {
    int counts[64] = {0}, *pointer = counts;
    mt_parallel(c->nested, 3, count_up, &pointer);
    for (int i = 0; i < c->nested; i++) EXPECT(counts[i] == 1);
    EXPECT(mt_worker() == worker);
  }
  EXPECT(atomic_exchange(&c->busy[worker], false));
}

static void run_check(int64_t n, int64_t chunk, int nested) {
  static _Thread_local int seen[MOST];
  atomic_bool busy[WORKERS] = {false};
  atomic_int begun[WORKERS] = {0};
  memset(seen, 0, sizeof seen);
  const check c = {n, chunk, seen, busy, begun, nested};
  mt_parallel(n, chunk, check_range, &c);
  for (int64_t i = 0; i < n; i++) EXPECT(seen[i] == 1);
}

static void all_sizes(void) {
  for (int threads = 1; threads <= 2 * WORKERS; threads++) {
    mt_set_num_threads(threads);
    for (int64_t n = 0; n < 40; n++)
      for (int64_t chunk = 1; chunk < 12; chunk += 3) run_check(n, chunk, 0);
    run_check(MOST, 7, 0);
    run_check(100, 1, 50);
  }
}

/* The ranges grow where there would be too many. */
static void count_values(const void *context, int64_t begin, int64_t end) {
  atomic_fetch_add(*(atomic_llong *const *)context, end - begin);
}

static void many(void) {
  atomic_llong total = 0, *pointer = &total;
  mt_parallel((int64_t)1 << 40, 1, count_values, &pointer);
  EXPECT(atomic_load(&total) == (int64_t)1 << 40);
}

static void *call_often(void *argument) {
  (void)argument;
  for (int i = 0; i < 2000; i++) run_check(1 + i % 50, 1 + i % 3, 0);
  return NULL;
}

static void callers_at_once(void) {
  pthread_t threads[3];
  mt_set_num_threads(WORKERS);
  for (int i = 0; i < 3; i++) EXPECT(pthread_create(&threads[i], NULL, call_often, NULL) == 0);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
}

static void doze(const void *context, int64_t begin, int64_t end) {
  (void)context;
  (void)begin;
  (void)end;
  if (mt_worker() != 0) nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
}

/* The caller sleeps while the others still work, and loops after a pause wake them again. */
static void slow_helpers(void) {
  for (int i = 0; i < 5; i++) {
    mt_parallel(2 * WORKERS, 1, doze, NULL);
    run_check(500, 1, 0);
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    run_check(500, 1, 0);
  }
}

static int status_of(pid_t child) {
  int status = -1;
  for (int i = 0; i < 3000 && waitpid(child, &status, WNOHANG) == 0; i++)
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
  return status;
}

/* The child of a fork, and its child, compute; also where it cannot start a thread. */
static void forks(void) {
  for (int i = 0; i < 20; i++) {
    run_check(100, 1, 0);
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      if (i % 4 == 0) setrlimit(RLIMIT_NPROC, &(struct rlimit){1, 1});
      if (i % 4 == 1) setrlimit(RLIMIT_AS, &(struct rlimit){1, 1});
      for (int k = 0; k < 50; k++) run_check(100, 1, 0);
      const pid_t grandchild = fork();
      if (grandchild == 0) {
        run_check(100, 1, 0);
        _exit(0);
      }
      _exit(grandchild < 0 || status_of(grandchild) == 0 ? 0 : 2);
    }
    EXPECT(child > 0 && status_of(child) == 0);
  }
}

int main(int count, char **arguments) {
  all_sizes();
  many();
  callers_at_once();
  slow_helpers();
  if (count < 2 || strcmp(arguments[1], "nofork") != 0) forks();
  run_check(100, 1, 0);
  puts("ok");
  return 0; /* with helpers that sleep or still look out */
}
