/* Invariants: a mapping is a row of blocks without gaps, from its start to its `end`; beyond lies memory that was never
 * touched. No two free blocks are neighbours. Every free block is in the list `available`. */
#include "core/arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#define ALIGNMENT ((size_t)64)
#define PAGE ((size_t)4096)
#define HUGE_PAGE ((size_t)2 << 20)
#define MIN_MAPPING ((size_t)64 << 20)
#define MIN_REST ((size_t)16 << 10) /* a smaller rest stays with the block it would be cut from */
/* Processors tell loads from earlier stores by the low 12 bits of their addresses first. Tensors whose sizes are powers
 * of two would each begin a header later in its page than the one before, and a loop from one to the next would wait
 * for its own stores at every step: so each begins at least so much later. */
#define STAGGER ((size_t)1216)

typedef struct mapping mapping;

/* In front of every buffer. */
typedef struct block {
  size_t size; /* with this header */
  mapping *home;
  struct block *before;          /* the neighbour at lower addresses; NULL for the first */
  struct block *next, *previous; /* while free: in `available` */
  size_t resident;               /* while free: how much of it the system may still have to provide for */
  bool is_free;
} block;

_Static_assert(sizeof(block) <= ALIGNMENT, "the header fits in front of the buffer");

/* At the start of every mapping. */
struct mapping {
  mapping *next;
  size_t bytes;
  char *end;   /* of the last block */
  block *last; /* NULL: none yet */
};

static mapping *mappings;
static block *available;
static size_t cached, mapped;

static size_t rounded(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

static size_t block_size(size_t bytes) {
  const size_t size = rounded(bytes + ALIGNMENT, ALIGNMENT), in_page = size % PAGE;
  return in_page < STAGGER ? size - in_page + STAGGER : size;
}

static char *start_of(mapping *m) { return (char *)m + rounded(sizeof *m, ALIGNMENT); }
static char *limit_of(mapping *m) { return (char *)m + m->bytes; }
static char *end_of(block *b) { return (char *)b + b->size; }
static block *after(block *b) { return end_of(b) < b->home->end ? (block *)end_of(b) : NULL; }

/* ---- the list of free blocks ---- */

static void list(block *b) {
  b->is_free = true;
  b->previous = NULL;
  b->next = available;
  if (available) available->previous = b;
  available = b;
  cached += b->resident;
}

static void unlist(block *b) {
  b->is_free = false;
  if (b->previous)
    b->previous->next = b->next;
  else
    available = b->next;
  if (b->next) b->next->previous = b->previous;
  cached -= b->resident;
}

/* ---- mappings ---- */

static mapping *map(size_t bytes) {
  /* Aligned for huge pages: map more and cut the ends off. */
  char *start =
      mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return NULL;
  char *aligned = (char *)rounded((uintptr_t)start, HUGE_PAGE);
  if (aligned > start) munmap(start, (size_t)(aligned - start));
  const size_t behind = (size_t)(start + HUGE_PAGE - aligned);
  if (behind > 0) munmap(aligned + bytes, behind);
#ifdef MADV_HUGEPAGE
  /* Activations are walked linearly by every layer: huge pages save most page faults and TLB misses. */
  madvise(aligned, bytes, MADV_HUGEPAGE);
#endif
  mapping *m = (mapping *)aligned;
  m->bytes = bytes;
  m->last = NULL;
  m->end = start_of(m);
  m->next = mappings;
  mappings = m;
  mapped += bytes;
  return m;
}

/* Few and large, so that neighbours can join; where that is refused, as large as it must be. */
static mapping *new_mapping(size_t block_bytes) {
  const size_t least = rounded(block_bytes + rounded(sizeof(mapping), ALIGNMENT), HUGE_PAGE);
  size_t wanted = rounded(mapped / 4, HUGE_PAGE);
  if (wanted < MIN_MAPPING) wanted = MIN_MAPPING;
  mapping *m = wanted > least ? map(wanted) : NULL;
  return m ? m : map(least);
}

static void unmap(mapping *m) {
  mapping **link = &mappings;
  while (*link != m) link = &(*link)->next;
  *link = m->next;
  mapped -= m->bytes;
  munmap(m, m->bytes);
}

/* ---- taking ---- */

static block *best_fit(size_t size) {
  block *best = NULL;
  for (block *b = available; b; b = b->next) {
    if (b->size < size || (best && b->size > best->size)) continue;
    if (!best || b->size < best->size || b < best) best = b; /* of equals the lowest: the same every time */
  }
  return best;
}

/* Cuts what `size` leaves over off a block that is in use, as a free block of its own. */
static void cut(block *b, size_t size) {
  if (b->size < size + MIN_REST) return;
  block *rest = (block *)((char *)b + size);
  *rest = (block){.size = b->size - size, .home = b->home, .before = b};
  rest->resident = b->resident > size ? b->resident - size : 0;
  b->size = size;
  block *next = after(rest);
  if (next)
    next->before = rest;
  else
    b->home->last = rest;
  list(rest);
}

/* The free block at the end of a mapping that has room enough from there on. */
static block *extendable(mapping *m, size_t size) {
  block *last = m->last;
  return last && last->is_free && (size_t)(limit_of(m) - (char *)last) >= size ? last : NULL;
}

/* A block at the end of a mapping with enough room left; a free last block becomes its first part. */
static block *extend(mapping *m, size_t size) {
  block *last = m->last;
  const bool grows = extendable(m, size) != NULL;
  char *start = grows ? (char *)last : m->end;
  if ((size_t)(limit_of(m) - start) < size) return NULL;
  if (grows) {
    unlist(last);
    last->size = size;
  } else {
    *(block *)start = (block){.size = size, .home = m, .before = last};
    m->last = (block *)start;
  }
  m->end = start + size;
  return m->last;
}

void *mt_arena_take(size_t bytes) {
  const size_t size = block_size(bytes);
  block *b = best_fit(size);
  if (b) {
    unlist(b);
    cut(b, size);
  }
  for (mapping *m = mappings; m && !b; m = m->next) b = extend(m, size);
  if (!b) {
    mapping *m = new_mapping(size);
    if (m) b = extend(m, size);
  }
  return b ? (char *)b + ALIGNMENT : NULL;
}

size_t mt_arena_growth(size_t bytes) {
  const size_t size = block_size(bytes);
  const block *b = best_fit(size);
  for (mapping *m = mappings; m && !b; m = m->next) b = extendable(m, size);
  return b && b->resident >= size ? 0 : size - (b ? b->resident : 0);
}

/* ---- giving back ---- */

/* Joins b and the block behind it, which are both in no list. */
static void join(block *b, block *next) {
  b->size += next->size;
  b->resident += next->resident;
  if (b->home->last == next) b->home->last = b;
  block *behind = after(b);
  if (behind) behind->before = b;
}

void mt_arena_give(void *buffer) {
  block *b = (block *)((char *)buffer - ALIGNMENT), *next = after(b), *before = b->before;
  b->resident = b->size;
  if (next && next->is_free) {
    unlist(next);
    join(b, next);
  }
  if (before && before->is_free) {
    unlist(before);
    join(before, b);
    b = before;
  }
  list(b);
}

size_t mt_arena_cached(void) { return cached; }

/* The whole pages behind the block's header. */
static void release_pages(block *b) {
  char *from = (char *)rounded((uintptr_t)b + sizeof *b, PAGE), *to = (char *)((uintptr_t)end_of(b) / PAGE * PAGE);
  if (to > from) madvise(from, (size_t)(to - from), MADV_DONTNEED);
  cached -= b->resident;
  b->resident = 0;
}

static block *most_resident(void) {
  block *most = available;
  for (block *b = available; b; b = b->next)
    if (b->resident > most->resident) most = b;
  return most;
}

void mt_arena_trim(size_t keep) {
  while (cached > keep) {
    block *b = most_resident();
    if (b->home->last == b && !b->before) {
      unlist(b);
      unmap(b->home);
    } else {
      release_pages(b);
    }
  }
}
