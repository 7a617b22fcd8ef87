#include "kernels/kernels.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const mt_kernel_table mt_table_plain;
#if defined(__x86_64__)
extern const mt_kernel_table mt_table_avx2, mt_table_avx512;

static bool has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

static bool has_avx512(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && has_avx2();
}
#endif

static bool always(void) { return true; }

/* The best first. */
static const struct {
  const mt_kernel_table *table;
  bool (*supported)(void);
} choices[] = {
#if defined(__x86_64__)
    {&mt_table_avx512, has_avx512},
    {&mt_table_avx2, has_avx2},
#endif
    {&mt_table_plain, always},
};
enum { CHOICE_COUNT = sizeof choices / sizeof choices[0] };

const mt_kernel_table *mt_kernels;

const char *mt_select_isa(const char *name) {
  for (int i = 0; i < CHOICE_COUNT; i++) {
    if (strcmp(choices[i].table->isa, name) != 0) continue;
    if (!choices[i].supported()) return "is not supported by this processor";
    mt_kernels = choices[i].table;
    return NULL;
  }
  return "is unknown, expected avx512, avx2 or plain";
}

__attribute__((constructor)) static void choose_at_start(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
  for (int i = CHOICE_COUNT - 1; i >= 0; i--)
    if (choices[i].supported()) mt_kernels = choices[i].table;
  const char *wanted = getenv("MASKTUNE_ISA");
  const char *fault = wanted && *wanted ? mt_select_isa(wanted) : NULL;
  if (fault) fprintf(stderr, "masktune: MASKTUNE_ISA ignored: '%s' %s\n", wanted, fault);
}
