#include "core/memory.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "core/arena.h"
#include "core/error.h"
#include "core/machine.h"

#define ALIGNMENT 64
#define MIN_CLASS_BITS 8       /* the smallest class is 256 bytes */
#define CLASSES_PER_DOUBLING 8 /* at most 12.5% of a buffer is slack */
#define CLASS_COUNT ((48 - MIN_CLASS_BITS) * CLASSES_PER_DOUBLING)
/* Larger buffers come from the arena; under AddressSanitizer none does, nor is any kept, so that each has its own red
 * zones and every use after its end is seen. */
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_FROM SIZE_MAX
#define KEEPS_BUFFERS false
#else
#define ARENA_FROM ((size_t)64 << 10)
#define KEEPS_BUFFERS true
#endif
#define IN_ARENA ((size_t)CLASS_COUNT)
#define CACHE_ALWAYS ((size_t)64 << 20)
#define COLLECT_GROWTH ((size_t)32 << 20)
/* A collection of a small heap takes microseconds, and what it frees is still in the processor's cache. */
#define COLLECT_GROWTH_LEAST ((size_t)1 << 20)
#define COLLECT_GROWTH_PER_HEAP 32
#define COLLECT_GROWTH_YOUNG ((size_t)64 << 10)
#define COLLECT_BUFFERS ((size_t)512)
/* What the machine has left is looked up when so much more is wanted, or a large buffer after so many seconds. */
#define ROOM_STEP ((double)((size_t)1 << 30))
#define LARGE ((size_t)1 << 20)
#define ROOM_SECONDS 1
/* Of what is available, one part in so many is left to others; and this much is for what is not counted here: the rest
 * of huge pages, page tables, the interpreter. */
#define ROOM_RESERVE 32
#define ROOM_MARGIN ((double)((size_t)16 << 20))

/* Stands in the ALIGNMENT bytes before every buffer. */
typedef struct header {
  struct header *next; /* in the free list of its class */
  size_t capacity;
  size_t size_class;
  void *origin; /* what malloc gave; NULL in the arena */
} header;

_Static_assert(sizeof(header) <= ALIGNMENT, "the header fits in front of the buffer");

typedef struct {
  size_t live, buffers;
} usage;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static header *free_lists[CLASS_COUNT];
static mt_memory_stats stats; /* cached: without the arena's */
/* The least since Lua's last collection of everything, and of any kind. Not what the collection left: that falls when a
 * graph lets go of its values, and garbage must not hide below what was held before. */
static usage lowest, lowest_young;
/* Bytes that the budget gave back to the system and that were not wanted since, and those that were. */
static size_t given_back, wanted_again;
static double granted; /* so much may be held: the machine had room for it when it was looked up */
static time_t granted_at;
static double machine_left; /* what it had then */

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
  free(block->origin);
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

/* More than was ever in use at once, for free memory lies in parts: a quarter, or half of it where with a quarter the
 * process wanted again what it had given back, which the system has to clear every time. */
static size_t slack(void) { return wanted_again > stats.peak ? stats.peak / 2 : stats.peak / 4; }

static void trim_to_budget(void) {
  const size_t bound = stats.peak + slack(), total = bound > CACHE_ALWAYS ? bound : CACHE_ALWAYS, before = cached_now();
  trim_to(KEEPS_BUFFERS && total > stats.live ? total - stats.live : 0);
  given_back += before - cached_now();
}

static void count_wanted_again(size_t growth) {
  const size_t again = growth < given_back ? growth : given_back;
  given_back -= again;
  wanted_again += again;
}

/* Small ones are aligned here, not by aligned_alloc: that of glibc before 2.38 cuts pieces off free memory that it
 * cannot use again for such requests, and the heap grew for ever. */
static header *system_block(size_t size_class, size_t capacity) {
  const size_t bytes = capacity + ALIGNMENT;
  header *block;
  void *origin = NULL;
  if (size_class == IN_ARENA) {
    block = mt_arena_take(bytes);
  } else {
    origin = malloc(bytes + ALIGNMENT - 1);
    block = (header *)(((uintptr_t)origin + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
  }
  if (block) block->origin = origin;
  return block;
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

static time_t seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

/* How much more the process would hold with this block. */
static size_t growth_of(size_t size_class, size_t capacity) {
  if (size_class == IN_ARENA) return mt_arena_growth(capacity + ALIGNMENT);
  return free_lists[size_class] ? 0 : capacity + ALIGNMENT;
}

/* Whether the machine can give so much; if it can, some more need not be looked up again. What is held but was never
 * touched it has still to provide. */
static bool look_up(size_t growth) {
  const double held = (double)(stats.live + cached_now()), resident = mt_machine_resident();
  const double untouched = resident > 0 && held > resident ? held - resident : 0;
  const double available = mt_machine_memory();
  machine_left = available - available / ROOM_RESERVE - ROOM_MARGIN - untouched;
  if ((double)growth > machine_left) return false;
  const double ahead = (machine_left - (double)growth) / 4;
  granted = held + (double)growth + (ahead < ROOM_STEP ? ahead : ROOM_STEP);
  granted_at = seconds_now();
  return true;
}

/* Linux hands out more memory than it has, and kills whoever uses it: what cannot be had is refused here. */
static bool make_room(size_t size_class, size_t capacity) {
  if (capacity > SIZE_MAX / 2) return false;
  const size_t growth = growth_of(size_class, capacity);
  if (growth == 0) return true;
  count_wanted_again(growth);
  const bool is_recent = growth < LARGE || seconds_now() - granted_at <= ROOM_SECONDS;
  if (is_recent && (double)(stats.live + cached_now() + growth) <= granted) return true;
  if (look_up(growth)) return true;
  trim_to(0);
  return look_up(growth_of(size_class, capacity));
}

static double mebibytes(double bytes) { return bytes > 0 ? bytes / 1048576.0 : 0; }

static void *refuse(size_t bytes, size_t live) {
  return mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot allocate %.1f MiB (%.1f MiB in use by tensors)",
                      mebibytes((double)bytes), mebibytes((double)live));
}

static void *refuse_for_machine(size_t bytes, size_t live, double left) {
  return mt_fail_null(
      MT_ERROR_MEMORY,
      "out of memory: cannot allocate %.1f MiB (%.1f MiB in use by tensors, the machine has %.1f MiB left)",
      mebibytes((double)bytes), mebibytes((double)live), mebibytes(left));
}

void *mt_alloc(size_t bytes) {
  size_t capacity = bytes;
  const size_t size_class = bytes >= ARENA_FROM ? IN_ARENA : size_class_of(bytes, &capacity);
  pthread_mutex_lock(&lock);
  const bool fits = make_room(size_class, capacity);
  header *block = fits ? take_block(size_class, capacity) : NULL;
  if (block) {
    stats.live += block->capacity;
    stats.buffers++;
    if (stats.live > stats.peak) stats.peak = stats.live;
    trim_to_budget();
  }
  const size_t live = stats.live;
  const double left = machine_left;
  pthread_mutex_unlock(&lock);
  if (block) return (char *)block + ALIGNMENT;
  return fits ? refuse(bytes, live) : refuse_for_machine(bytes, live, left);
}

static void lower(usage *least) {
  if (stats.live < least->live) least->live = stats.live;
  if (stats.buffers < least->buffers) least->buffers = stats.buffers;
}

void mt_free(void *buffer) {
  if (!buffer) return;
  header *block = (header *)((char *)buffer - ALIGNMENT);
  pthread_mutex_lock(&lock);
  stats.live -= block->capacity;
  stats.buffers--;
  lower(&lowest);
  lower(&lowest_young);
  if (block->size_class == IN_ARENA) {
    mt_arena_give(block);
  } else {
    stats.cached += block->capacity;
    block->next = free_lists[block->size_class];
    free_lists[block->size_class] = block;
  }
  trim_to_budget();
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

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static bool has_grown(usage since, size_t growth, size_t buffers) {
  return stats.live > since.live + growth || stats.buffers > since.buffers + buffers;
}

bool mt_memory_wants_collection(size_t heap) {
  pthread_mutex_lock(&lock);
  const size_t most = larger(larger(lowest.live / 4, heap / 2), COLLECT_GROWTH);
  const size_t least = COLLECT_GROWTH_LEAST + COLLECT_GROWTH_PER_HEAP * heap;
  const size_t buffers = COLLECT_BUFFERS + lowest.buffers / 4 + heap / 2048;
  const bool wants = has_grown(lowest, least < most ? least : most, buffers);
  pthread_mutex_unlock(&lock);
  return wants;
}

void mt_memory_collected(void) {
  pthread_mutex_lock(&lock);
  lowest = lowest_young = (usage){stats.live, stats.buffers};
  pthread_mutex_unlock(&lock);
}

bool mt_memory_wants_young_collection(void) {
  pthread_mutex_lock(&lock);
  const bool wants = has_grown(lowest_young, COLLECT_GROWTH_YOUNG, COLLECT_BUFFERS);
  pthread_mutex_unlock(&lock);
  return wants;
}

void mt_memory_collected_young(void) {
  pthread_mutex_lock(&lock);
  lowest_young = (usage){stats.live, stats.buffers};
  pthread_mutex_unlock(&lock);
}

/* A fork must not happen while another thread holds the lock: nobody would open it in the child. */
static void close_lock(void) { pthread_mutex_lock(&lock); }
static void open_lock(void) { pthread_mutex_unlock(&lock); }
__attribute__((constructor)) static void guard_forks(void) { pthread_atfork(close_lock, open_lock, open_lock); }
