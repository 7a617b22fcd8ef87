#include "core/memory.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/arena.h"
#include "core/error.h"

#define ALIGNMENT 64
#define MIN_CLASS_BITS 8       /* the smallest class is 256 bytes */
#define CLASSES_PER_DOUBLING 8 /* at most 12.5% of a buffer is slack */
#define CLASS_COUNT ((48 - MIN_CLASS_BITS) * CLASSES_PER_DOUBLING)
/* Larger buffers come from the arena; under AddressSanitizer none does, so that each has its own red zones. */
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_FROM SIZE_MAX
#else
#define ARENA_FROM ((size_t)64 << 10)
#endif
#define IN_ARENA ((size_t)CLASS_COUNT)
#define CACHE_ALWAYS ((size_t)64 << 20)
#define COLLECT_GROWTH ((size_t)32 << 20)

/* Stands in the ALIGNMENT bytes before every buffer. */
typedef struct header {
  struct header *next; /* in the free list of its class */
  size_t capacity;
  size_t size_class;
} header;

_Static_assert(sizeof(header) <= ALIGNMENT, "the header fits in front of the buffer");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static header *free_lists[CLASS_COUNT];
static mt_memory_stats stats; /* cached: without the arena's */
static size_t live_at_collection;

/* The smallest class that holds `bytes`; its capacity goes to *capacity. CLASS_COUNT when too large. */
static size_t size_class_of(size_t bytes, size_t *capacity) {
  const size_t smallest = (size_t)1 << MIN_CLASS_BITS;
  if (bytes <= smallest) {
    *capacity = smallest;
    return 0;
  }
  const int bits = 63 - __builtin_clzll(bytes - 1); /* 2^bits <= bytes - 1 < 2^(bits+1) */
  const size_t base = (size_t)1 << bits;
  const size_t step = base / CLASSES_PER_DOUBLING;
  const size_t steps = (bytes - base + step - 1) / step; /* 1..8 */
  *capacity = base + steps * step;
  const size_t index = (size_t)(bits - MIN_CLASS_BITS) * CLASSES_PER_DOUBLING + steps;
  return index < CLASS_COUNT ? index : CLASS_COUNT;
}

static void release_to_system(header *block) {
  stats.cached -= block->capacity;
  free(block);
}

static size_t cached_now(void) { return stats.cached + mt_arena_cached(); }

/* Gives cached buffers back, the largest first, until at most `keep` bytes are cached. */
static void trim_to(size_t keep) {
  if (cached_now() <= keep) return;
  mt_arena_trim(keep > stats.cached ? keep - stats.cached : 0);
  for (size_t c = CLASS_COUNT; c-- > 0 && stats.cached > keep;) {
    while (free_lists[c] && stats.cached > keep) {
      header *block = free_lists[c];
      free_lists[c] = block->next;
      release_to_system(block);
    }
  }
}

static size_t cache_budget(void) {
  const size_t bound = stats.peak + stats.peak / 4;
  const size_t total = bound > CACHE_ALWAYS ? bound : CACHE_ALWAYS;
  return total > stats.live ? total - stats.live : 0;
}

static header *system_block(size_t size_class, size_t capacity) {
  if (capacity > SIZE_MAX / 2) return NULL;
  const size_t bytes = capacity + ALIGNMENT;
  if (size_class == IN_ARENA) return mt_arena_take(bytes);
  return aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

static header *take_block(size_t size_class, size_t capacity) {
  header *block = size_class == IN_ARENA ? NULL : free_lists[size_class];
  if (block) {
    free_lists[size_class] = block->next;
    stats.cached -= block->capacity;
    return block;
  }
  block = system_block(size_class, capacity);
  if (!block) {
    trim_to(0);
    block = system_block(size_class, capacity);
  }
  if (block) {
    block->capacity = capacity;
    block->size_class = size_class;
  }
  return block;
}

void *mt_alloc(size_t bytes) {
  size_t capacity = bytes;
  const size_t size_class = bytes >= ARENA_FROM ? IN_ARENA : size_class_of(bytes, &capacity);
  pthread_mutex_lock(&lock);
  header *block = take_block(size_class, capacity);
  if (block) {
    stats.live += block->capacity;
    if (stats.live > stats.peak) stats.peak = stats.live;
    trim_to(cache_budget());
  }
  const size_t live = stats.live;
  pthread_mutex_unlock(&lock);
  if (!block) {
    return mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot allocate %.1f MiB (%.1f MiB in use by tensors)",
                        (double)bytes / 1048576.0, (double)live / 1048576.0);
  }
  return (char *)block + ALIGNMENT;
}

void mt_free(void *buffer) {
  if (!buffer) return;
  header *block = (header *)((char *)buffer - ALIGNMENT);
  pthread_mutex_lock(&lock);
  stats.live -= block->capacity;
  if (block->size_class == IN_ARENA) {
    mt_arena_give(block);
  } else {
    stats.cached += block->capacity;
    block->next = free_lists[block->size_class];
    free_lists[block->size_class] = block;
  }
  trim_to(cache_budget());
  pthread_mutex_unlock(&lock);
}

mt_memory_stats mt_memory_usage(void) {
  pthread_mutex_lock(&lock);
  mt_memory_stats now = stats;
  now.cached = cached_now();
  pthread_mutex_unlock(&lock);
  return now;
}

void mt_memory_trim(void) {
  pthread_mutex_lock(&lock);
  trim_to(0);
  pthread_mutex_unlock(&lock);
}

bool mt_memory_wants_collection(void) {
  const size_t quarter = live_at_collection / 4, growth = quarter > COLLECT_GROWTH ? quarter : COLLECT_GROWTH;
  return stats.live > live_at_collection + growth;
}

void mt_memory_collected(void) { live_at_collection = stats.live; }
