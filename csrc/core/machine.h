/* What this process may use of the machine, where containers and the system's own limits give it less than there is. */
#ifndef MT_CORE_MACHINE_H
#define MT_CORE_MACHINE_H

#include <stddef.h>
#include <stdint.h>

/* Cores, at least 1: those of the affinity mask, or fewer where the cgroups' quota (v1 or v2), rounded up, is less.
 * Looked up once. */
int mt_machine_cores(void);

/* Bytes that this process could still get: what the machine has available, with free swap, or less where a cgroup's
 * limit (v1 or v2) leaves less; infinite where the system does not say. Looked up every time: some 50 microseconds. */
double mt_machine_memory(void);

/* Bytes of the last cache before memory, or what the variable MASKTUNE_CACHE says; 0 where the system does not say.
 * Looked up once. (That of one group of cores: sysconf() adds up all of a large machine's.) */
int64_t mt_machine_cache(void);

/* Bytes of this process that are in memory now, and the most that ever were; 0 where the system does not say. */
double mt_machine_resident(void);
double mt_machine_peak_resident(void);

/* The same with the system's /proc and /sys found below `root` (for tests). */
int mt_machine_cores_under(const char *root);
double mt_machine_memory_under(const char *root);
int64_t mt_machine_cache_under(const char *root);

#endif
