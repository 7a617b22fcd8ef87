/* Where a batch is dealt over several processes, and its statistics are to be those of the whole. */
#ifndef MT_CORE_BATCH_H
#define MT_CORE_BATCH_H

#include <stdint.h>

/* Replaces `count` values by their sums over the processes, the same bits on each; -1 with an error. */
typedef int mt_sum_over_processes(double *values, int64_t count);

/* What statistics are summed with; NULL (at first): this process has the whole batch. */
mt_sum_over_processes *mt_batch_sum(void);
void mt_batch_set_sum(mt_sum_over_processes *sum);

/* From the statistics of this process's part of a batch to those of the whole: the number of values per channel, and
 * for each channel the mean, and the sum of squared distances from it. Nothing to do without mt_batch_sum(). */
int mt_batch_moments(int64_t *count, double *mean, double *squares, int64_t channels);

/* From this part's number of values per channel and `n` sums to those of the whole, for the way back. */
int mt_batch_gradient_sums(int64_t *count, double *sums, int64_t n);

#endif
