/* Gradients summed over the ranks while backward still runs.
 *
 * The parameters, last first (backward reaches them in about that order), are cut into buckets. A bucket begins its way
 * as soon as all its gradients are complete, but never before the one in front of it, so that the order is the same on
 * all ranks. A thread of its own moves the messages on; it sleeps most of the time, since it has no core of its own.
 * Without the thread, with messages looked at whenever a leaf is complete and then in mt_buckets_finish, 2 ranks on 2
 * cores train SmallCNN, ResNet-32 and EfficientNet-Lite0 at 0.985, 0.987 and 0.986 of its speed (medians of 10, 7 and 7
 * alternating runs that range over +-15, 9 and 6 %): no better, and a message would wait wherever no leaf is completed
 * for long. */
#ifndef MT_DIST_BUCKETS_H
#define MT_DIST_BUCKETS_H

#include <stddef.h>

#include "core/tensor.h"

typedef struct mt_buckets mt_buckets;

/* Buckets of about `bytes` each. The parameters are kept alive. */
mt_buckets *mt_buckets_new(mt_tensor *const *params, int count, size_t bytes);
void mt_buckets_free(mt_buckets *b);
int mt_buckets_count(const mt_buckets *b);

/* Of the last step: when a bucket's messages began and when its sum was there, in seconds from the call of
 * mt_buckets_finish (negative: before it), and its bytes. */
typedef struct {
  double bytes, begun, arrived;
} mt_bucket_times;
mt_bucket_times mt_buckets_times(const mt_buckets *b, int number);

/* The next backward pass completes gradients that are to be summed. */
void mt_buckets_begin(mt_buckets *b);
/* After it: sends what is left, waits for all, and puts the sums in place of the gradients. A parameter that has a
 * gradient on some rank has one on all of them afterwards. *waited: seconds from the call to the last sum's arrival. */
int mt_buckets_finish(mt_buckets *b, double *waited);

#endif
