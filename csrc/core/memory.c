#include "core/memory.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "core/error.h"

#define ALIGNMENT 64
#define MIN_CLASS_BITS 8       /* the smallest class is 256 bytes */
#define CLASSES_PER_DOUBLING 8 /* at most 12.5% of a buffer is slack */
#define CLASS_COUNT ((48 - MIN_CLASS_BITS) * CLASSES_PER_DOUBLING)
#define HUGE_PAGE ((size_t)2 << 20)
#define HUGE_PAGE_FROM ((size_t)4 << 20)
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
static mt_memory_stats stats;
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

/* Frees cached buffers, the largest first, until at most `keep` bytes are cached. */
static void trim_to(size_t keep) {
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

static header *system_block(size_t capacity) {
  const size_t bytes = capacity + ALIGNMENT;
  if (bytes < HUGE_PAGE_FROM) return aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
  /* Large activations are walked linearly by every layer: huge pages save most TLB misses and page faults. */
  const size_t rounded = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
  header *block = aligned_alloc(HUGE_PAGE, rounded);
#ifdef MADV_HUGEPAGE
  if (block) madvise(block, rounded, MADV_HUGEPAGE);
#endif
  return block;
}

static header *take_block(size_t size_class, size_t capacity) {
  header *block = free_lists[size_class];
  if (block) {
    free_lists[size_class] = block->next;
    stats.cached -= block->capacity;
    return block;
  }
  const size_t budget = cache_budget();
  trim_to(budget > capacity ? budget - capacity : 0);
  block = system_block(capacity);
  if (!block) {
    trim_to(0);
    block = system_block(capacity);
  }
  if (block) {
    block->capacity = capacity;
    block->size_class = size_class;
  }
  return block;
}

void *mt_alloc(size_t bytes) {
  size_t capacity = 0;
  const size_t size_class = size_class_of(bytes, &capacity);
  header *block = NULL;
  pthread_mutex_lock(&lock);
  if (size_class < CLASS_COUNT) block = take_block(size_class, capacity);
  if (block) {
    stats.live += block->capacity;
    if (stats.live > stats.peak) stats.peak = stats.live;
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
  stats.cached += block->capacity;
  block->next = free_lists[block->size_class];
  free_lists[block->size_class] = block;
  const size_t budget = cache_budget();
  if (stats.cached > budget) trim_to(budget);
  pthread_mutex_unlock(&lock);
}

mt_memory_stats mt_memory_usage(void) {
  pthread_mutex_lock(&lock);
  const mt_memory_stats now = stats;
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
