#define _GNU_SOURCE
#include "core/machine.h"

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TEXT 4096

/* ---- control groups: the process's own and those above it, each with limits ---- */

typedef void group_visitor(const char *directory, bool is_v2, void *context);

/* Whether `word` is one of the comma-separated `list`. */
static bool lists(const char *list, const char *word) {
  const size_t length = strlen(word);
  for (const char *at = list; at; at = strchr(at, ',')) {
    if (*at == ',') at++;
    if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == '\0')) return true;
  }
  return false;
}

static FILE *open_in(const char *directory, const char *name) {
  char path[2 * TEXT];
  return snprintf(path, sizeof path, "%s/%s", directory, name) < (int)sizeof path ? fopen(path, "re") : NULL;
}

/* The process's path within the hierarchy that has the controller: a line "number:controllers:path". */
static bool own_group(const char *root, const char *controller, bool is_v2, char path[TEXT]) {
  char line[TEXT];
  FILE *file = open_in(root, "proc/self/cgroup");
  bool found = false;
  while (file && !found && fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':'), *at = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!at) continue;
    *at++ = '\0';
    found = is_v2 ? controllers[1] == '\0' : lists(controllers + 1, controller);
    if (found) strcpy(path, at);
  }
  if (file) fclose(file);
  return found;
}

/* Where the hierarchy is mounted, and which of its groups is seen there: a line
 * "id parent device group mount-point options ... - type source controllers". */
static bool find_mount(const char *root, const char *controller, bool is_v2, char point[TEXT], char group[TEXT]) {
  char line[TEXT], type[32], controllers[TEXT];
  FILE *file = open_in(root, "proc/self/mountinfo");
  bool found = false;
  while (file && !found && fgets(line, sizeof line, file)) {
    const char *behind = strstr(line, " - ");
    if (!behind || sscanf(behind, " - %31s %*s %s", type, controllers) != 2 ||
        sscanf(line, "%*s %*s %*s %s %s", group, point) != 2)
      continue;
    found = is_v2 ? strcmp(type, "cgroup2") == 0 : strcmp(type, "cgroup") == 0 && lists(controllers, controller);
  }
  if (file) fclose(file);
  return found;
}

static void visit_hierarchy(const char *root, const char *controller, bool is_v2, group_visitor *visit, void *context) {
  char own[TEXT], point[TEXT], group[TEXT], directory[3 * TEXT];
  if (!own_group(root, controller, is_v2, own) || !find_mount(root, controller, is_v2, point, group)) return;
  /* In a container the mount may show only a part of the hierarchy, and the path may be that of the whole. */
  const size_t hidden = strcmp(group, "/") == 0 ? 0 : strlen(group);
  const char *seen = strncmp(own, group, hidden) == 0 ? own + hidden : "";
  const int top = snprintf(directory, sizeof directory, "%s%s", root, point);
  if (top >= (int)sizeof directory - TEXT) return;
  int length = top + snprintf(directory + top, TEXT, "%s", seen);
  while (length > top && directory[length - 1] == '/') directory[--length] = '\0';
  for (;;) {
    visit(directory, is_v2, context);
    if (length <= top) return;
    while (length > top && directory[length - 1] != '/') length--;
    while (length > top && directory[length - 1] == '/') length--;
    directory[length] = '\0';
  }
}

static void visit_groups(const char *root, const char *controller, group_visitor *visit, void *context) {
  visit_hierarchy(root, controller, false, visit, context);
  visit_hierarchy(root, controller, true, visit, context);
}

/* The numbers a file begins with; how many there are (none where it says "max"). */
static int read_numbers(const char *directory, const char *name, double numbers[2]) {
  FILE *file = open_in(directory, name);
  const int count = file ? fscanf(file, "%lf %lf", &numbers[0], &numbers[1]) : 0;
  if (file) fclose(file);
  return count > 0 ? count : 0;
}

/* The number behind `key` in a file of lines "key number" or "key: number"; 0 where there is none. */
static double read_field(const char *directory, const char *name, const char *key) {
  char line[256];
  double value = 0;
  const size_t length = strlen(key);
  FILE *file = open_in(directory, name);
  while (file && value == 0 && fgets(line, sizeof line, file))
    if (strncmp(line, key, length) == 0 && (line[length] == ' ' || line[length] == ':'))
      value = strtod(line + length + 1, NULL);
  if (file) fclose(file);
  return value;
}

/* ---- cores ---- */

static void lower_to_quota(const char *directory, bool is_v2, void *context) {
  double quota[2];
  bool limited;
  if (is_v2) {
    limited = read_numbers(directory, "cpu.max", quota) == 2;
  } else {
    double period[2];
    limited = read_numbers(directory, "cpu.cfs_quota_us", quota) == 1 &&
              read_numbers(directory, "cpu.cfs_period_us", period) == 1;
    quota[1] = period[0];
  }
  if (!limited || quota[0] <= 0 || quota[1] <= 0) return;
  int *cores = context;
  const double share = quota[0] / quota[1];
  if (share < *cores) *cores = share > 1 ? (int)share + (share > (int)share) : 1;
}

static int affinity_cores(void) {
  enum { MOST = 1 << 14 };
  cpu_set_t *set = CPU_ALLOC(MOST);
  int cores = 0;
  if (set && sched_getaffinity(0, CPU_ALLOC_SIZE(MOST), set) == 0) cores = CPU_COUNT_S(CPU_ALLOC_SIZE(MOST), set);
  CPU_FREE(set);
  if (cores < 1) cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
  return cores > 1 ? cores : 1;
}

int mt_machine_cores_under(const char *root) {
  int cores = affinity_cores();
  visit_groups(root, "cpu", lower_to_quota, &cores);
  return cores;
}

int mt_machine_cores(void) {
  static atomic_int cores;
  int n = atomic_load_explicit(&cores, memory_order_relaxed);
  if (n == 0) atomic_store_explicit(&cores, n = mt_machine_cores_under(""), memory_order_relaxed);
  return n;
}

/* ---- cache ---- */

/* The third level, else the second. */
int64_t mt_machine_cache_under(const char *root) {
  static const char *const files[] = {"sys/devices/system/cpu/cpu0/cache/index3/size",
                                      "sys/devices/system/cpu/cpu0/cache/index2/size"};
  double kib[2];
  for (int i = 0; i < 2; i++)
    if (read_numbers(root, files[i], kib) > 0 && kib[0] > 0) return (int64_t)(1024 * kib[0]);
  return 0;
}

int64_t mt_machine_cache(void) {
  static _Atomic int64_t bytes = -1;
  int64_t n = atomic_load_explicit(&bytes, memory_order_relaxed);
  if (n >= 0) return n;
  const char *said = getenv("MASKTUNE_CACHE");
  n = said ? atoll(said) : 0;
  if (said && *said && n <= 0)
    fprintf(stderr, "masktune: MASKTUNE_CACHE ignored: it is '%s', expected a number of bytes\n", said);
  if (n <= 0) n = mt_machine_cache_under("");
  atomic_store_explicit(&bytes, n, memory_order_relaxed);
  return n;
}

/* ---- memory ---- */

/* What the group's files hold in the page cache can be had as well. */
static void lower_to_limit(const char *directory, bool is_v2, void *context) {
  double *available = context, limit[2], used[2];
  if (read_numbers(directory, is_v2 ? "memory.max" : "memory.limit_in_bytes", limit) < 1 ||
      read_numbers(directory, is_v2 ? "memory.current" : "memory.usage_in_bytes", used) < 1)
    return;
  const double cache = read_field(directory, "memory.stat", is_v2 ? "inactive_file" : "total_inactive_file") +
                       read_field(directory, "memory.stat", is_v2 ? "active_file" : "total_active_file");
  const double left = limit[0] - used[0] + cache;
  if (left < *available) *available = left;
}

double mt_machine_memory_under(const char *root) {
  const double kib = read_field(root, "proc/meminfo", "MemAvailable") + read_field(root, "proc/meminfo", "SwapFree");
  double available = kib > 0 ? 1024 * kib : HUGE_VAL;
  visit_groups(root, "memory", lower_to_limit, &available);
  return available > 0 ? available : 0;
}

double mt_machine_memory(void) { return mt_machine_memory_under(""); }

double mt_machine_resident(void) {
  double pages[2];
  return read_numbers("/proc/self", "statm", pages) == 2 ? pages[1] * (double)sysconf(_SC_PAGESIZE) : 0;
}

double mt_machine_peak_resident(void) {
  struct rusage usage;
  return getrusage(RUSAGE_SELF, &usage) == 0 ? 1024.0 * (double)usage.ru_maxrss : 0;
}
