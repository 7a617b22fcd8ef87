/* What carries messages between the processes of a run. The core links no MPI: a second module (csrc/mpi) fills this
 * table in, and whoever has it can start a world (dist/world.h).
 *
 * Messages between two ranks with the same tag arrive in the order in which they were sent. No call waits for another
 * process. Calls come from one thread at a time, though not always the same one. */
#ifndef MT_DIST_TRANSPORT_H
#define MT_DIST_TRANSPORT_H

#include <stddef.h>

#define MT_TRANSPORT_CLASS "masktune.Transport" /* of the userdata that holds a `const mt_transport *` */
#define MT_MOST_RANKS 65536

typedef struct {
  int rank, size;      /* 0 <= rank < size <= MT_MOST_RANKS */
  const char *library; /* "Open MPI v4.1.4" */
  /* Begins to send or to receive; the memory stays the caller's and untouched until `test` says so. A request, or NULL
   * on error. */
  void *(*send)(const void *data, size_t bytes, int to, int tag);
  void *(*receive)(void *data, size_t bytes, int from, int tag);
  /* 1: done, and the request is gone; 0: not yet; -1: error. */
  int (*test)(void *request);
  /* A rank that has ended in good order, or -1 where none has. */
  int (*left)(void);
  const char *(*problem)(void); /* of the last error */
  /* Ends all processes of the run, this one too. */
  void (*abort)(int status);
} mt_transport;

#endif
