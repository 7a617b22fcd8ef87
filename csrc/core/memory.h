/* The buffer pool: every native buffer of masktune comes from here and is counted.
 *
 * Freed buffers are handed out again, because a training step asks for the same sizes every time:
 * small ones are kept by size class, large ones in an arena (core/arena.h). The pool never keeps so
 * much that live + cached exceeds a quarter over the highest live amount seen, so resident memory
 * is bounded by what the work needs.
 *
 * Lua cannot see these bytes; the binding asks mt_memory_wants_collection() whenever it hands
 * out a new userdata and runs a collection then (lua/binding.c). Scripts never have to. */
#ifndef MT_CORE_MEMORY_H
#define MT_CORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* 64-byte aligned, uninitialised; NULL with an MT_ERROR_MEMORY that names the size, also where the system would promise
 * more than the machine, or the process's cgroup, has left (core/machine.h). bytes may be 0. */
void *mt_alloc(size_t bytes);
void mt_free(void *buffer);

typedef struct {
  size_t live;    /* bytes handed out now */
  size_t cached;  /* bytes kept for reuse */
  size_t peak;    /* highest `live` so far */
  size_t buffers; /* handed out now */
} mt_memory_stats;

mt_memory_stats mt_memory_usage(void);

/* Gives every cached buffer back to the system. */
void mt_memory_trim(void);

/* True when some of what is live may be garbage that only Lua's collector can find: live memory has grown, from the
 * least since the last collection, by 1 MiB and 32 times `heap`, the bytes that a collection has to walk; or else by a
 * quarter, by half the heap and by at least 32 MiB; or the number of buffers by a quarter, and by at least 512 and
 * one for every 2 KiB of heap. (Left to itself the collector waits longer and longer: it counts what has a finaliser as
 * in use for one more round.) */
bool mt_memory_wants_collection(size_t heap);
void mt_memory_collected(void);

/* The same where Lua's collector is generational, as it is in the stand-alone interpreter: to collect what is young
 * costs next to nothing, so it is worth while for one dropped result, whose buffer the next one takes over while it is
 * in the processor's cache. What grew old before it was dropped is left to the collections above. */
bool mt_memory_wants_young_collection(void);
void mt_memory_collected_young(void);

#endif
