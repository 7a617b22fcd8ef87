/* The chunks of a loop are cut into one share for each worker. A worker takes chunks from the front of its own share,
 * so that it meets the same images in every loop and finds them in its cache; then from the end of the others'.
 *
 * Invariants: a share is one word, the loop's number with the chunks not yet taken, and a chunk is taken by changing
 * that word; so a thread that comes late, with an earlier loop's number, takes nothing. What describes a loop changes
 * only when all its chunks are done; so whoever has taken one has read the right description, and nobody has to be
 * waited for before he has taken one. */
#define _GNU_SOURCE
#include "core/threads.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/error.h"
#include "core/machine.h"

#define MAX_WORKERS 256
#define CHUNK_BITS 12
#define MAX_CHUNKS (((int64_t)1 << CHUNK_BITS) - 1)
#define CHUNKS_PER_THREAD 8
#define GRAINS_AT_MOST 16
/* How long a helper looks out for work, and the caller for the end of work, before they sleep: longer than what mostly
 * lies between two loops of a training step, or between the ends of two threads' work; short beside the milliseconds
 * for which the system gives a core to others. Waking costs some 10 microseconds here and 40 there. */
#define HELPER_LOOKS_OUT 50000 /* nanoseconds */
#define CALLER_LOOKS_OUT 100000
#define LOOKS_PER_CLOCK 16 /* the clock is read once in so many looks */

typedef struct {
  _Alignas(64) _Atomic uint64_t word; /* loop | first chunk | end of the chunks not yet taken */
} share;

/* A thread that sleeps until `asleep` is cleared. */
typedef struct {
  _Alignas(64) atomic_bool asleep;
  pthread_mutex_t lock;
  pthread_cond_t wake;
} sleeper;

static struct {
  /* The loop. */
  _Atomic uint64_t loop; /* its number */
  _Atomic(mt_loop_body *) body;
  _Atomic(const void *) context;
  _Atomic int64_t n, chunk;
  atomic_int workers;                /* who may take part: the caller, 0, and helpers 1 .. workers - 1 */
  _Alignas(64) _Atomic int64_t done; /* chunks that helpers have finished */
  _Atomic int64_t awaited;           /* how many of those the sleeping caller waits for; 0: it does not sleep */
  /* The pool. */
  atomic_flag taken; /* by the caller of a loop */
  int helpers;       /* started */
  bool is_full;      /* no more could be started */
} pool = {.taken = ATOMIC_FLAG_INIT};

static share shares[MAX_WORKERS];
static sleeper sleepers[MAX_WORKERS]; /* 0: the caller */

static atomic_int thread_count; /* 0: not known yet */

static _Thread_local struct {
  int worker;
  bool begins;
} self;

int mt_worker(void) { return self.worker; }
bool mt_worker_begins(void) { return self.begins; }

/* ---- looking out, and sleeping ---- */

static int64_t clock_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

typedef struct {
  int64_t until;
  unsigned looks;
} lookout;

static lookout look_out(int64_t nanoseconds) { return (lookout){.until = clock_now() + nanoseconds}; }

/* A short pause; false when the time is over. */
static bool look_on(lookout *l) {
  relax();
  return ++l->looks % LOOKS_PER_CLOCK != 0 || clock_now() < l->until;
}

static void wake(sleeper *s) {
  if (!atomic_load(&s->asleep) || !atomic_exchange(&s->asleep, false)) return;
  pthread_mutex_lock(&s->lock);
  pthread_cond_signal(&s->wake);
  pthread_mutex_unlock(&s->lock);
}

/* After asleep was set, and whatever should end the sleep looked for once more. */
static void sleep_on(sleeper *s) {
  pthread_mutex_lock(&s->lock);
  while (atomic_load(&s->asleep)) pthread_cond_wait(&s->wake, &s->lock);
  pthread_mutex_unlock(&s->lock);
}

/* ---- taking chunks ---- */

static uint64_t share_word(uint64_t loop, int64_t first, int64_t end) {
  return loop << 2 * CHUNK_BITS | (uint64_t)first << CHUNK_BITS | (uint64_t)end;
}

/* A chunk of the loop, or -1: none is left here. */
static int64_t take(share *s, uint64_t loop, bool from_front) {
  uint64_t word = atomic_load_explicit(&s->word, memory_order_acquire);
  for (;;) {
    const int64_t first = (int64_t)(word >> CHUNK_BITS) & MAX_CHUNKS, end = (int64_t)word & MAX_CHUNKS;
    if (word != share_word(loop, first, end) || first >= end) return -1;
    const uint64_t rest = from_front ? share_word(loop, first + 1, end) : share_word(loop, first, end - 1);
    if (atomic_compare_exchange_weak(&s->word, &word, rest)) return from_front ? first : end - 1;
  }
}

static void run_chunk(mt_loop_body *body, const void *context, int64_t n, int64_t chunk, int64_t index) {
  const int64_t begin = index * chunk;
  body(context, begin, n - begin < chunk ? n : begin + chunk);
  self.begins = false;
}

/* Does what is left of the loop, if it is still the current one; returns how many chunks that were. */
static int64_t work(uint64_t loop, int worker) {
  mt_loop_body *body = atomic_load_explicit(&pool.body, memory_order_relaxed);
  const void *context = atomic_load_explicit(&pool.context, memory_order_relaxed);
  const int64_t n = atomic_load_explicit(&pool.n, memory_order_relaxed);
  const int64_t chunk = atomic_load_explicit(&pool.chunk, memory_order_relaxed);
  const int workers = atomic_load_explicit(&pool.workers, memory_order_relaxed);
  int64_t count = 0;
  self.begins = true;
  for (int i = 0; i < workers; i++) {
    share *s = &shares[(worker + i) % workers];
    for (int64_t index; (index = take(s, loop, i == 0)) >= 0; count++) {
      run_chunk(body, context, n, chunk, index);
      if (worker > 0 && atomic_fetch_add(&pool.done, 1) + 1 == atomic_load(&pool.awaited)) wake(&sleepers[0]);
    }
  }
  return count;
}

/* ---- helpers ---- */

static void init_sleeper(sleeper *s) {
  atomic_store(&s->asleep, false);
  pthread_mutex_init(&s->lock, NULL);
  pthread_cond_init(&s->wake, NULL);
}

/* Waking is a system call: each wakes two more, so that none pays for all. */
static void wake_two(int worker, int workers) {
  for (int i = 2 * worker + 1; i <= 2 * worker + 2 && i < workers; i++) wake(&sleepers[i]);
}

static void await_loop(sleeper *s, uint64_t last, lookout *l) {
  while (atomic_load_explicit(&pool.loop, memory_order_acquire) == last) {
    if (look_on(l)) continue;
    atomic_store(&s->asleep, true);
    if (atomic_load(&pool.loop) == last) sleep_on(s);
    atomic_store(&s->asleep, false);
    *l = look_out(HELPER_LOOKS_OUT);
  }
}

static void *help(void *argument) {
  sleeper *s = argument;
  const int worker = self.worker = (int)(s - sleepers);
  lookout l = look_out(HELPER_LOOKS_OUT);
  uint64_t loop = 0;
  for (;;) {
    await_loop(s, loop, &l);
    loop = atomic_load(&pool.loop);
    const int workers = atomic_load_explicit(&pool.workers, memory_order_relaxed);
    if (worker >= workers) continue;
    wake_two(worker, workers);
    if (work(loop, worker) > 0) l = look_out(HELPER_LOOKS_OUT);
  }
  return NULL; /* never: the thread ends with the process */
}

/* The child of a fork has none of the threads: it starts its own when it needs them. */
static void forget_helpers(void) {
  pool.helpers = 0;
  pool.is_full = false;
  atomic_flag_clear(&pool.taken);
  for (int i = 0; i < MAX_WORKERS; i++) atomic_store(&shares[i].word, 0);
  init_sleeper(&sleepers[0]);
}

__attribute__((constructor)) static void set_up(void) {
  init_sleeper(&sleepers[0]);
  pthread_atfork(NULL, NULL, forget_helpers);
}

/* All signals but those of a thread's own faults are the host's: its handlers run in its own threads. */
static sigset_t signals_of_host(void) {
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
  sigset_t set;
  sigfillset(&set);
  for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) sigdelset(&set, faults[i]);
  return set;
}

static bool start(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
  const sigset_t blocked = signals_of_host();
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  const bool started = pthread_create(thread, attributes, body, argument) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return started;
}

bool mt_start_thread(pthread_t *thread, void *(*body)(void *), void *argument) {
  return start(thread, NULL, body, argument);
}

static bool start_helper(void) {
  pthread_attr_t detached;
  pthread_t thread;
  if (pthread_attr_init(&detached) != 0) return false;
  init_sleeper(&sleepers[pool.helpers + 1]);
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  const bool started = start(&thread, &detached, help, &sleepers[pool.helpers + 1]);
  pthread_attr_destroy(&detached);
  pool.helpers += started;
  return started;
}

/* How many of the wanted workers there are. */
static int gather(int wanted) {
  while (pool.helpers + 1 < wanted && !pool.is_full) pool.is_full = !start_helper();
  return pool.helpers + 1 < wanted ? pool.helpers + 1 : wanted;
}

/* ---- loops ---- */

static void run_alone(int64_t n, int64_t chunk, mt_loop_body *body, const void *context) {
  const int worker = self.worker;
  const bool begins = self.begins;
  self.worker = 0;
  self.begins = true;
  for (int64_t index = 0; index * chunk < n; index++) run_chunk(body, context, n, chunk, index);
  self.worker = worker;
  self.begins = begins;
}

/* Opens a loop: from its number on, helpers take part. */
static uint64_t open_loop(int64_t n, int64_t chunk, int64_t chunks, int workers, mt_loop_body *body,
                          const void *context) {
  const uint64_t loop = atomic_load_explicit(&pool.loop, memory_order_relaxed) + 1;
  atomic_store_explicit(&pool.body, body, memory_order_relaxed);
  atomic_store_explicit(&pool.context, context, memory_order_relaxed);
  atomic_store_explicit(&pool.n, n, memory_order_relaxed);
  atomic_store_explicit(&pool.chunk, chunk, memory_order_relaxed);
  atomic_store_explicit(&pool.workers, workers, memory_order_relaxed);
  atomic_store_explicit(&pool.done, 0, memory_order_relaxed);
  for (int i = 0; i < workers; i++)
    atomic_store_explicit(&shares[i].word, share_word(loop, chunks * i / workers, chunks * (i + 1) / workers),
                          memory_order_release);
  atomic_store(&pool.loop, loop);
  return loop;
}

static void await_helpers(int64_t chunks) {
  lookout l = look_out(CALLER_LOOKS_OUT);
  while (atomic_load_explicit(&pool.done, memory_order_acquire) != chunks) {
    if (look_on(&l)) continue;
    atomic_store(&sleepers[0].asleep, true);
    atomic_store(&pool.awaited, chunks);
    if (atomic_load(&pool.done) != chunks) sleep_on(&sleepers[0]);
    atomic_store(&pool.awaited, 0);
    atomic_store(&sleepers[0].asleep, false);
  }
}

static int workers_for(int64_t chunks) {
  int workers = mt_num_threads();
  if (workers > chunks) workers = (int)chunks;
  if (workers > mt_machine_cores()) workers = mt_machine_cores();
  return workers < MAX_WORKERS ? workers : MAX_WORKERS;
}

void mt_parallel(int64_t n, int64_t chunk, mt_loop_body *body, const void *context) {
  if (n <= 0) return;
  if (chunk < (n + MAX_CHUNKS - 1) / MAX_CHUNKS) chunk = (n + MAX_CHUNKS - 1) / MAX_CHUNKS;
  const int64_t chunks = (n + chunk - 1) / chunk;
  const int wanted = workers_for(chunks);
  /* Taken: by a loop that this one is part of, or by another thread of the host. */
  if (wanted == 1 || atomic_flag_test_and_set(&pool.taken)) {
    run_alone(n, chunk, body, context);
    return;
  }
  const int workers = gather(wanted);
  const uint64_t loop = open_loop(n, chunk, chunks, workers, body, context);
  wake_two(0, workers);
  await_helpers(chunks - work(loop, 0));
  atomic_flag_clear(&pool.taken);
}

int64_t mt_chunk(int64_t n, int64_t cost, int64_t grain) {
  const int64_t pieces = (int64_t)mt_num_threads() * CHUNKS_PER_THREAD, even = (n + pieces - 1) / pieces;
  const int64_t least = cost < grain ? (grain + cost - 1) / (cost > 0 ? cost : 1) : 1;
  if (even < least) return least;
  return even < GRAINS_AT_MOST * least ? even : GRAINS_AT_MOST * least;
}

/* ---- the count ---- */

/* A variable's number, which may begin a list ("4,2"); 0 where it has none that will do. */
static int count_from(const char *variable) {
  const char *text = getenv(variable);
  const long n = text ? strtol(text, NULL, 10) : 0;
  return n >= 1 && n <= MT_MAX_THREADS ? (int)n : 0;
}

static int own_count(void) {
  const char *text = getenv("MASKTUNE_NUM_THREADS");
  const int n = count_from("MASKTUNE_NUM_THREADS");
  if (n == 0 && text && *text)
    fprintf(stderr, "masktune: MASKTUNE_NUM_THREADS ignored: it is '%s', expected 1 to %d\n", text, MT_MAX_THREADS);
  return n;
}

int mt_num_threads(void) {
  int n = atomic_load_explicit(&thread_count, memory_order_relaxed);
  if (n > 0) return n;
  n = own_count();
  if (n == 0) n = count_from("OMP_NUM_THREADS");
  if (n == 0) n = mt_machine_cores();
  atomic_store_explicit(&thread_count, n, memory_order_relaxed);
  return n;
}

int mt_set_num_threads(int n) {
  if (n < 1 || n > MT_MAX_THREADS)
    return mt_fail(MT_ERROR_ARGUMENT, "set_num_threads: %d, expected 1 to %d", n, MT_MAX_THREADS);
  atomic_store_explicit(&thread_count, n, memory_order_relaxed);
  return 0;
}
