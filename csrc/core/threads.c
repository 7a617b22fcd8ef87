#include "core/threads.h"

#include <omp.h>

#include "core/error.h"

static int thread_count; /* 0: not asked for yet, OpenMP's own choice (OMP_NUM_THREADS, else the cores) */

int mt_num_threads(void) {
  if (thread_count == 0) thread_count = omp_get_max_threads();
  return thread_count;
}

int mt_set_num_threads(int n) {
  if (n < 1 || n > 1024) return mt_fail(MT_ERROR_ARGUMENT, "set_num_threads: %d, expected 1 to 1024", n);
  thread_count = n;
  return 0;
}
