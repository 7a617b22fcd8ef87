/* One thread count and one pool of threads for everything.
 *
 * A parallel loop is a function over a range and what it works on:
 *
 *   typedef struct { const float *from; float *to; } doubling;
 *
 *   static void double_values(const void *context, int64_t begin, int64_t end) {
 *     const doubling *d = context;
 *     for (int64_t i = begin; i < end; i++) d->to[i] = 2 * d->from[i];
 *   }
 *   ...
 *   mt_parallel(count, mt_chunk(count, 1, 1 << 14), double_values, &(doubling){from, to});
 *
 * The pool is ours and not an OpenMP run time, because those split a loop over threads: each has its part, and the loop
 * waits for all. Beside another busy process some thread is always off its core, and then every loop waits for it,
 * while the others spin away the time in which it could run (2 % of the speed with two trainings on two cores). Here
 * work is not promised to a thread but taken by whoever comes: the caller does all that nobody else has taken, so it
 * waits only for a chunk that has been begun, and sleeps when that takes long. And there are never more threads than
 * cores (core/machine.h), whatever mt_set_num_threads says: then that only says in how many parts work is cut.
 *
 * The same bits come out however the work was dealt: the ranges that a body sees follow from n and chunk alone. A sum
 * that each thread would gather on its own is cut into mt_num_threads() parts, and a part is one iteration of a loop
 * with chunk 1. OpenBLAS is told once, at start-up, to use one thread; large products are split over ours (ops/gemm.h).
 */
#ifndef MT_CORE_THREADS_H
#define MT_CORE_THREADS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* What mt_set_num_threads said; else MASKTUNE_NUM_THREADS, OMP_NUM_THREADS, or the cores this process may use. */
int mt_num_threads(void);
/* 1 <= n <= MT_MAX_THREADS. */
#define MT_MAX_THREADS 1024
int mt_set_num_threads(int n);

/* Does iterations begin .. end - 1. */
typedef void mt_loop_body(const void *context, int64_t begin, int64_t end);

/* Calls body for 0 .. n - 1 in ranges of `chunk` (the last may be shorter; beyond 4,095 ranges they grow), in any order
 * and at the same time; returns when all are done. n <= chunk costs no more than the call. Bodies may open loops of
 * their own, which run within the one thread. A chunk is best worth 10 to 200 microseconds. */
void mt_parallel(int64_t n, int64_t chunk, mt_loop_body *body, const void *context);

/* A chunk for n iterations of `cost` each, in values or whatever else `grain` is counted in: a few chunks for each
 * thread, none of them worth less than the grain (so small loops are one), or more than 16 times that. */
int64_t mt_chunk(int64_t n, int64_t cost, int64_t grain);

/* A thread beside the pool, for work that nobody waits for (data/loader.h). The host's signals are not handled in it.
 * false where none can be started. */
bool mt_start_thread(pthread_t *thread, void *(*body)(void *), void *argument);

/* Within a body: which of the workers this is, 0 .. min(n, mt_num_threads()) - 1. Two bodies of a loop that run at the
 * same time never have the same: scratch may be indexed with it. */
int mt_worker(void);
/* Within a body: whether this is the worker's first range of the loop, and its scratch still as it was before. */
bool mt_worker_begins(void);

#endif
