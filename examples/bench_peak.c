/* What a core can do: GFLOP/s of fused multiply-adds that touch no memory, so its clock times the width of its units.
 * bench.lua builds this with -march=native (or narrower) and runs it: bench_peak SECONDS. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define CHAINS 12 /* more than latency times units, fewer than registers */
#define REPEATS 1000000

typedef float vector __attribute__((vector_size(BYTES)));

static double seconds_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Keeps x in a register and the compiler from knowing its value. */
#define HIDE(x) __asm__ volatile("" : "+x"(x))

int main(int argc, char **argv) {
  const double wanted = argc > 1 ? atof(argv[1]) : 1.0, start = seconds_now();
  double best = 0;
  vector sum[CHAINS] = {0}, factor = {0}, term = {0};
  HIDE(factor);
  HIDE(term);
  while (seconds_now() - start < wanted) {
    const double begin = seconds_now();
    for (int i = 0; i < REPEATS; i++) {
#pragma GCC unroll 12
      for (int c = 0; c < CHAINS; c++) {
        sum[c] = sum[c] * factor + term;
        HIDE(sum[c]);
      }
    }
    const double rate = 2.0 * CHAINS * REPEATS * (BYTES / 4) / (seconds_now() - begin) / 1e9;
    if (rate > best) best = rate;
  }
  printf("%.1f\n", best);
  return 0;
}
