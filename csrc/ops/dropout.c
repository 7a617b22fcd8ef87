/* The mask is never stored: element i's fate depends on the generator's seed and on the counter at the time of the
 * forward pass plus i/4, so the backward pass draws the same numbers again. */
#include "ops/dropout.h"

#include <math.h>
#include <string.h>

#include "autograd/tape.h"
#include "core/threads.h"
#include "kernels/kernels.h"

#define PARALLEL_FROM 2048 /* blocks of four */
#define DRAWN 256          /* blocks of random numbers at a time */

typedef struct {
  double p;
  uint64_t seed, counter;
} dropout_context;

typedef struct {
  const float *in;
  float *out;
  int64_t count;
  const dropout_context *mask;
} masking;

/* Blocks of four. Multiplies instead of selecting, so that NaN stays NaN under the mask. */
static void mask_blocks(const void *context, int64_t begin, int64_t end) {
  const masking *m = context;
  const float scale = m->mask->p < 1.0 ? (float)(1.0 / (1.0 - m->mask->p)) : 0.0f;
  const uint32_t last_dropped = (uint32_t)fmin(ceil(m->mask->p * 0x1p32) - 1.0, UINT32_MAX);
  for (int64_t b = begin; b < end; b += DRAWN) {
    uint32_t bits[4 * DRAWN];
    const int64_t blocks = end - b < DRAWN ? end - b : DRAWN;
    const int64_t n = 4 * (b + blocks) <= m->count ? 4 * blocks : m->count - 4 * b;
    mt_kernels->random_bits(bits, blocks, m->mask->seed, m->mask->counter + (uint64_t)b);
    const float *in = m->in + 4 * b;
    float *out = m->out + 4 * b;
    for (int64_t i = 0; i < n; i++) out[i] = in[i] * (bits[i] > last_dropped ? scale : 0.0f);
  }
}

static void apply_mask(const float *in, float *out, int64_t count, const dropout_context *mask) {
  const int64_t blocks = (count + 3) / 4;
  if (mask->p == 0.0) {
    memcpy(out, in, (size_t)count * sizeof *out);
    return;
  }
  mt_parallel(blocks, mt_chunk(blocks, 1, PARALLEL_FROM), mask_blocks, &(masking){in, out, count, mask});
}

static int dropout_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grad_inputs) {
  mt_tensor *dx = grad_inputs[0] = mt_tensor_like(grad_output);
  if (!dx) return -1;
  apply_mask(mt_f32(grad_output), mt_f32(dx), dx->count, node->context);
  return 0;
}

static const mt_op dropout_op = {.name = "dropout", .backward = dropout_backward};

mt_tensor *mt_dropout(mt_tensor *x, double p, mt_rng *rng) {
  if (mt_expect_dtype(x, MT_FLOAT32, "dropout", "input") < 0) return NULL;
  if (!(p >= 0.0 && p <= 1.0))
    return mt_fail_null(MT_ERROR_ARGUMENT, "dropout: p is %g, expected a number in [0, 1]", p);
  if (!rng) rng = mt_default_rng();
  const dropout_context context = {.p = p, .seed = rng->seed, .counter = rng->counter};
  mt_tensor *y = mt_tensor_like(x);
  if (!y) return NULL;
  apply_mask(mt_f32(x), mt_f32(y), x->count, &context);
  rng->counter += (uint64_t)((x->count + 3) / 4);
  return mt_recorded(y, &dropout_op, 1, &x, 0, NULL, &context, sizeof context);
}
