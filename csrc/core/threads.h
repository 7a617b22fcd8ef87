/* One thread count for everything.
 *
 * Parallelism is ours alone: operations open OpenMP regions of mt_num_threads() threads, and
 * OpenBLAS is told once, at start-up, to use one thread. Where a matrix product is large it is
 * split over our threads (ops/gemm.h), each calling OpenBLAS for its rows. So the two pools never
 * fight over the cores, and the split, hence every bit of the result, depends on the count alone. */
#ifndef MT_CORE_THREADS_H
#define MT_CORE_THREADS_H

int mt_num_threads(void);
/* n >= 1; larger than 1024 is an error. */
int mt_set_num_threads(int n);

#endif
