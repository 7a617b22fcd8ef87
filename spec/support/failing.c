/* Allocations that fail when a test says so, for a process in which this library is preloaded; a Lua module as well:
 *
 *   failing.from(n, lua)   from the n-th allocation on all fail, from now; with `lua`, those of Lua itself count too
 *   failing.only(n, lua)   the n-th alone fails
 *   failing.off()          no more; returns how many have failed
 *   failing.live()         how many blocks are in use that others than Lua have allocated
 *
 * OpenBLAS is left alone: it tries for ever. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <lauxlib.h>
#include <link.h>
#include <lua.h>
#include <malloc.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

/* ---- whose call it is ---- */

typedef enum { OTHER, LUA, EXEMPT } owner;

typedef struct {
  uintptr_t from, to;
  owner owner;
} code_range;

static code_range ranges[16];
static int range_count;

static int note_range(struct dl_phdr_info *object, size_t size, void *context) {
  const char *name = object->dlpi_name;
  const bool is_lua = (name[0] == '\0' && *(int *)context == 0) || strstr(name, "liblua");
  const bool is_exempt = strstr(name, "openblas") || strstr(name, "gfortran") || strstr(name, "/ld-");
  (void)size;
  ++*(int *)context;
  for (int i = 0; (is_lua || is_exempt) && i < object->dlpi_phnum && range_count < 16; i++) {
    const ElfW(Phdr) *part = &object->dlpi_phdr[i];
    if (part->p_type == PT_LOAD && (part->p_flags & PF_X))
      ranges[range_count++] = (code_range){object->dlpi_addr + part->p_vaddr,
                                           object->dlpi_addr + part->p_vaddr + part->p_memsz, is_lua ? LUA : EXEMPT};
  }
  return 0;
}

static owner owner_of(const void *caller) {
  for (int i = 0; i < range_count; i++)
    if ((uintptr_t)caller >= ranges[i].from && (uintptr_t)caller < ranges[i].to) return ranges[i].owner;
  return OTHER;
}

/* ---- blocks in use ---- */

enum { SLOTS = 1 << 18 };
static atomic_flag lock =
    ATOMIC_FLAG_INIT; /* a mutex would be the sanitizer's, which has not begun when this is first used */
static void close_lock(void) {
  while (atomic_flag_test_and_set(&lock)) sched_yield();
}
static void open_lock(void) { atomic_flag_clear(&lock); }
static const void *blocks[SLOTS]; /* open addressing; (void *)1: was one */
static long live;
static bool counts;

static size_t slot_of(const void *block) { return (size_t)((uintptr_t)block >> 4) * 2654435761u % SLOTS; }

static void *entered(void *block) {
  if (!block || !counts) return block;
  close_lock();
  size_t at = slot_of(block);
  while ((uintptr_t)blocks[at] > 1) at = (at + 1) % SLOTS;
  blocks[at] = block;
  live++;
  open_lock();
  return block;
}

/* Whether it was there. */
static bool removed(const void *block) {
  if (!block || !counts) return false;
  close_lock();
  size_t at = slot_of(block);
  while (blocks[at] && blocks[at] != block) at = (at + 1) % SLOTS;
  const bool found = blocks[at] != NULL;
  if (found) {
    blocks[at] = (const void *)1;
    live--;
  }
  open_lock();
  return found;
}

/* ---- failing ---- */

static long countdown; /* 0: off */
static bool one_only, lua_too;
static long failures;

static bool fails(owner who) {
  if (who == EXEMPT || (who == LUA && !lua_too)) return false;
  close_lock();
  const bool now = countdown == 1;
  if (countdown > 1) countdown--;
  if (now) failures++;
  if (now && one_only) countdown = 0;
  open_lock();
  if (now) errno = ENOMEM;
  return now;
}

/* ---- the functions ---- */

static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void (*real_free)(void *);
static void *(*real_mmap)(void *, size_t, int, int, int, off_t);

/* dlsym allocates before it has found anything. */
static char early[1 << 16];
static size_t early_used;
static bool is_early(const void *block) {
  return (const char *)block >= early && (const char *)block < early + sizeof early;
}

static void *early_block(size_t size) {
  void *block = early + early_used;
  early_used += (size + 15) / 16 * 16;
  return early_used <= sizeof early ? block : NULL;
}

static bool find_real(void) {
  static bool searching;
  if (real_mmap) return true;
  if (searching) return false;
  searching = true;
  real_malloc = dlsym(RTLD_NEXT, "malloc");
  real_calloc = dlsym(RTLD_NEXT, "calloc");
  real_realloc = dlsym(RTLD_NEXT, "realloc");
  real_free = dlsym(RTLD_NEXT, "free");
  real_mmap = dlsym(RTLD_NEXT, "mmap");
  return true;
}

#define CALLER owner_of(__builtin_return_address(0))

void *malloc(size_t size) {
  const owner who = CALLER;
  if (!find_real()) return early_block(size);
  if (fails(who)) return NULL;
  void *block = real_malloc(size);
  return who == OTHER ? entered(block) : block;
}

void *calloc(size_t count, size_t size) {
  const owner who = CALLER;
  if (!find_real()) return early_block(count * size);
  if (fails(who)) return NULL;
  void *block = real_calloc(count, size);
  return who == OTHER ? entered(block) : block;
}

void *realloc(void *old, size_t size) {
  const owner who = CALLER;
  if (!find_real() || is_early(old)) return NULL;
  /* Lua takes for granted that it can shrink a block. */
  const bool shrinks = who == LUA && old && malloc_usable_size(old) >= size;
  if (size > 0 && !shrinks && fails(who)) return NULL;
  const bool was_counted = removed(old);
  void *block = real_realloc(old, size);
  if (!block && size > 0 && was_counted) entered(old);
  return who == OTHER ? entered(block) : block;
}

void free(void *block) {
  if (is_early(block) || !find_real()) return;
  removed(block);
  real_free(block);
}

void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
  const owner who = CALLER;
  if (!find_real()) return MAP_FAILED;
  return file < 0 && fails(who) ? MAP_FAILED : real_mmap(address, size, protection, flags, file, offset);
}

/* ---- for Lua ---- */

static int set(lua_State *L, bool only) {
  const long n = (long)luaL_checkinteger(L, 1);
  lua_too = lua_toboolean(L, 2);
  one_only = only;
  failures = 0;
  countdown = n;
  return 0;
}

static int set_from(lua_State *L) { return set(L, false); }
static int set_only(lua_State *L) { return set(L, true); }

static int set_off(lua_State *L) {
  countdown = 0;
  lua_pushinteger(L, failures);
  return 1;
}

static int count_live(lua_State *L) {
  lua_pushinteger(L, live);
  return 1;
}

int luaopen_failing(lua_State *L);
int luaopen_failing(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"from", set_from}, {"only", set_only}, {"off", set_off}, {"live", count_live}, {NULL, NULL}};
  int object = 0;
  dl_iterate_phdr(note_range, &object);
  counts = true;
  luaL_newlib(L, functions);
  return 1;
}
