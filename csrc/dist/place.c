#define _GNU_SOURCE
#include "dist/place.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"
#include "core/machine.h"
#include "dist/world.h"

typedef struct {
  char host[64];
  cpu_set_t cores;
} place;

const char *mt_world_host(void) {
  static char name[64];
  if (!name[0] && gethostname(name, sizeof name - 1) != 0) strcpy(name, "unknown");
  return name;
}

int mt_world_cores(void) {
  const int size = mt_world_size(), cores = mt_machine_cores();
  place own;
  memset(&own, 0, sizeof own);
  memcpy(own.host, mt_world_host(), strlen(mt_world_host()));
  if (size == 1 || sched_getaffinity(0, sizeof own.cores, &own.cores) != 0) return cores;
  place *all = malloc((size_t)size * sizeof *all);
  size_t *bytes = malloc((size_t)size * sizeof *bytes);
  int sharers = 0, status = all && bytes ? 0 : mt_fail(MT_ERROR_MEMORY, "out of memory: places of %d ranks", size);
  for (int i = 0; status == 0 && i < size; i++) bytes[i] = sizeof own;
  if (status == 0) status = mt_world_gather(&own, bytes, all, "an exchange of places");
  for (int i = 0; status == 0 && i < size; i++) sharers += memcmp(&all[i], &own, sizeof own) == 0;
  free(all);
  free(bytes);
  if (status < 0) return -1;
  return cores > sharers ? cores / sharers : 1;
}
