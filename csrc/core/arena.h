/* Large buffers: best fit over a few large mappings, with neighbouring free blocks joined.
 *
 * A training step asks for buffers of many sizes. Kept by size, freed ones would serve only the same size again, and
 * the rest would have to go back to the system and be cleared by it at every step. Here a freed block serves any
 * request that it holds; so what is resident stays close to the most that was in use at once.
 *
 * Not thread-safe: core/memory.c, its only user, holds a lock. */
#ifndef MT_CORE_ARENA_H
#define MT_CORE_ARENA_H

#include <stddef.h>

/* 64-byte aligned, uninitialised; NULL when the system has no more. */
void *mt_arena_take(size_t bytes);
void mt_arena_give(void *buffer);

/* How much more memory the process would hold after mt_arena_take(bytes): 0 where a free block serves that was not
 * given back to the system. */
size_t mt_arena_growth(size_t bytes);

/* Bytes that are free here but still the process's. */
size_t mt_arena_cached(void);

/* Gives free memory back to the system, the largest blocks first, until at most `keep` bytes are cached. */
void mt_arena_trim(size_t keep);

#endif
