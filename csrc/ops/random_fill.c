/* A tensor takes whole blocks of four numbers (core/random.h); what is left of the last one is not used. */
#include "ops/random_fill.h"

#include <string.h>

#include "core/threads.h"
#include "kernels/kernels.h"

#define GRAIN 2048 /* blocks */

typedef void block_kernel(float *out, int64_t blocks, uint64_t seed, uint64_t counter);

typedef struct {
  float *out;
  int64_t n;
  mt_rng rng;
  block_kernel *fill;
  float offset, scale;
} filling;

static void fill_blocks(const void *context, int64_t begin, int64_t end) {
  const filling *f = context;
  const int64_t whole = end <= f->n / 4 ? end : f->n / 4, first = 4 * begin, last = 4 * end < f->n ? 4 * end : f->n;
  f->fill(f->out + first, whole - begin, f->rng.seed, f->rng.counter + (uint64_t)begin);
  if (whole < end) {
    float block[4];
    f->fill(block, 1, f->rng.seed, f->rng.counter + (uint64_t)whole);
    memcpy(f->out + 4 * whole, block, (size_t)(f->n - 4 * whole) * sizeof *block);
  }
  if (f->offset == 0.0f && f->scale == 1.0f) return;
  for (int64_t i = first; i < last; i++) f->out[i] = f->offset + f->scale * f->out[i];
}

static void fill(mt_tensor *t, mt_rng *rng, block_kernel *kernel, float offset, float scale) {
  rng = mt_rng_or_default(rng);
  const int64_t blocks = (t->count + 3) / 4;
  mt_parallel(blocks, mt_chunk(blocks, 1, GRAIN), fill_blocks,
              &(filling){mt_f32(t), t->count, *rng, kernel, offset, scale});
  rng->counter += (uint64_t)blocks;
  mt_touch(t);
}

void mt_fill_uniform(mt_tensor *t, mt_rng *rng, float low, float high) {
  fill(t, rng, mt_kernels->random_uniform, low, high - low);
}

void mt_fill_normal(mt_tensor *t, mt_rng *rng, float mean, float std) {
  fill(t, rng, mt_kernels->random_normal, mean, std);
}
