/* The batches of an epoch, made ahead of who asks for them.
 *
 * Threads of the loader's own make images one after the other: read or decoded, resized, masked (data/view.h), brought
 * to [0,1], transformed at random (image/augment.h), into a ring of `ahead` batches. They are not the pool's
 * (core/threads.h), whose loops have a caller who waits: these have all the time that training takes, sleep when the
 * ring is full, and take the cores only as they are needed. Whoever asks for a batch that is not ready makes images of
 * it, too; so all works where no thread can be started, and after a fork, whose child has none.
 *
 * Batches come in order, with the same bits whatever the number of threads: what an image becomes follows from the
 * seed, the epoch and its position. Memory: `ahead` batches, and for each thread (and the asker) an image at every
 * stage on the way, the largest of which is the decoded file. */
#ifndef MT_DATA_LOADER_H
#define MT_DATA_LOADER_H

#include "data/view.h"
#include "image/augment.h"

typedef struct {
  mt_view *view;
  const mt_tensor *order; /* int32 {n}: positions in the view, from 1 */
  int64_t batch;
  bool drop_last; /* images that fill no batch */
  int ahead;      /* 1 or more */
  int threads;    /* 0 or more */
  mt_augment_key key;
  const mt_augmentation *steps; /* copied, but for what they point to */
  int step_count;
} mt_loader_options;

typedef struct mt_loader mt_loader;

typedef struct {
  mt_tensor *images; /* float32 {B,H,W,C}, the caller's; NULL: the epoch is over */
  int64_t count;
  const char *const *problems; /* for each image NULL, or why it could not be read: then it is black; valid until the
                                  next call */
  int64_t problem_count;
} mt_loaded;

/* Retains the view; starts to work at once. */
mt_loader *mt_loader_new(const mt_loader_options *options);
/* Waits for the images in hand, no more. NULL is allowed. */
void mt_loader_free(mt_loader *loader);

/* After an MT_ERROR_MEMORY it can be called again. One thread at a time. */
int mt_loader_next(mt_loader *loader, mt_loaded *loaded);

/* Seconds that mt_loader_next took so far. */
double mt_loader_waited(const mt_loader *loader);

#endif
