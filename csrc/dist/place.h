/* Which cores are a rank's. */
#ifndef MT_DIST_PLACE_H
#define MT_DIST_PLACE_H

/* Cores for this rank, at least 1: those the launcher has bound it to, or its part of those that it shares with other
 * ranks on its machine. All ranks call it together. -1 on error. */
int mt_world_cores(void);

/* The name of this machine. */
const char *mt_world_host(void);

#endif
