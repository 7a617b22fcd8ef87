/* What this process may use of the machine, where containers and the system's own limits give it less than there is. */
#ifndef MT_CORE_MACHINE_H
#define MT_CORE_MACHINE_H

#include <stddef.h>

/* Cores, at least 1: those of the affinity mask, or the cgroups' quota (v1 and v2) rounded up. Looked up once. */
int mt_machine_cores(void);
/* The same, looked up with /proc and /sys below `root` (for tests). */
int mt_machine_cores_under(const char *root);

#endif
