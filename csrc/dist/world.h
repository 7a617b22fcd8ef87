/* The processes of a run (its ranks, 0 to size - 1) and what they do together.
 *
 * Sums are taken in the order of the ranks, whatever arrives first: the same ranks give the same bits, on every rank.
 * (MPI_Allreduce promises neither: its order depends on size and network.) All ranks must call the same functions in
 * the same order. A wait that sees nothing arrive for mt_world_timeout() seconds fails, and says for whom it waited.
 *
 * Without a transport the world is this process alone, and everything here returns at once. */
#ifndef MT_DIST_WORLD_H
#define MT_DIST_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dist/transport.h"

int mt_world_start(const mt_transport *transport); /* once in a process */
int mt_world_rank(void);
int mt_world_size(void);
const char *mt_world_library(void);

double mt_world_timeout(void); /* seconds; 600 at first */
void mt_world_set_timeout(double seconds);

typedef enum { MT_SUM_F32, MT_SUM_F64 } mt_number;
typedef enum { MT_REDUCE_SUM, MT_REDUCE_MAX, MT_REDUCE_MIN } mt_reduction;

/* `what` is for the message of a wait that failed: "the sum of gradients". */
int mt_world_barrier(const char *what);
int mt_world_broadcast(void *data, size_t bytes, int root, const char *what);
int mt_world_reduce(void *data, int64_t count, mt_number type, mt_reduction op, const char *what);
/* bytes[r] from rank r, one after the other, into `all`; `own` are this rank's. */
int mt_world_gather(const void *own, const size_t *bytes, void *all, const char *what);

/* Sum of doubles, in the form of core/batch.h. */
int mt_world_sum(double *values, int64_t count);

/* Prints the message and ends the run on all ranks, with status 1. Where the same happens to all, rank 0 alone says it.
 */
void mt_world_abort(const char *message);

/* ---- a reduction that goes on by itself (dist/buckets.c) ---- */

typedef struct mt_exchange mt_exchange;
/* Reductions of one kind, `lane` 0 or 1, meet in the order in which they begin; NULL on error. */
mt_exchange *mt_exchange_begin(void *data, int64_t count, mt_number type, mt_reduction op, int lane);
/* 1: done; 0: not yet; -1: failed. Does what can be done without waiting. */
int mt_exchange_advance(mt_exchange *e);
/* Only once it is done or failed. */
void mt_exchange_free(mt_exchange *e);
/* Advances until it is done. */
int mt_exchange_wait(mt_exchange *e, const char *what);
/* Around all of these where more than one thread has exchanges. */
void mt_world_lock(void);
void mt_world_unlock(void);

#endif
