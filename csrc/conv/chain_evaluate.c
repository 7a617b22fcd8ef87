/* A chain in evaluation (conv/chain.h): a few images at a time go through all stages, from scratch to scratch, with the
 * normalisation folded into the convolutions' weights. */
#include <string.h>

#include "conv/chain_plan.h"
#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"

/* What the threads share, and how each one's scratch is laid out. */
typedef struct {
  float *weights[MT_CHAIN_MAX_STAGES], *bias[MT_CHAIN_MAX_STAGES];
  int64_t padded_at[MT_CHAIN_MAX_STAGES]; /* each stage's padded input; only equally padded ones share a place, whose
                                             border is zeroed once */
  int64_t activation_at, conv_at, scratch_count;
  int64_t lot; /* images at a time */
  float *memory, *scratch;
} folded_chain;

static int fold_stage(const mt_stage_plan *p, const mt_conv_stage *stage, float *folded, float *weights, float *bias) {
  const mt_taps taps = mt_conv_own_taps(&p->conv, folded);
  mt_fold(&stage->norm, mt_f32(stage->weight), mt_conv_taps(&p->conv), stage->bias ? mt_f32(stage->bias) : NULL, folded,
          bias);
  return mt_conv_prepare(&p->conv, &taps, weights);
}

/* The last stage that reads stage s's input: s itself, or the end of the longest residual block that begins with s. */
static int last_reader(const mt_chain_plan *plan, int s) {
  int end = plan->count - 1;
  while (end > s && plan->stages[end].block_stages != end - s + 1) end--;
  return end;
}

/* Whether stage s's padded input may take the place of stage r's, before it: equally padded, and read for the last time
 * before stage s - 1 writes, or by it as a residual, which it replaces pixel by pixel. */
static bool may_replace(const mt_chain_plan *plan, int r, int s) {
  const mt_stage_plan *a = &plan->stages[r], *b = &plan->stages[s];
  const int reader = last_reader(plan, r);
  return mt_stage_copies(plan, r) && a->in_h == b->in_h && a->in_w == b->in_w && a->in_c == b->in_c &&
         a->padding[0] == b->padding[0] && a->padding[1] == b->padding[1] && a->conv.in_h == b->conv.in_h &&
         a->conv.in_w == b->conv.in_w && (reader < s - 1 || (reader == s - 1 && reader > r));
}

/* The place of an earlier stage's input that stage s's may take over; -1: none. */
static int64_t replaced_place(const folded_chain *f, const mt_chain_plan *plan, int s) {
  for (int r = 0; r < s; r++) {
    bool is_free = may_replace(plan, r, s);
    for (int later = r + 1; later < s; later++)
      is_free = is_free && (f->padded_at[later] != f->padded_at[r] || may_replace(plan, later, s));
    if (is_free) return f->padded_at[r];
  }
  return -1;
}

/* Where everything lies in a thread's scratch. */
static void lay_out_folded(folded_chain *f, const mt_chain_plan *plan) {
  int64_t activation = 0, conv = 0;
  f->lot = 1;
  for (int s = 0; s < plan->count; s++)
    if (plan->stages[s].conv.lot > f->lot) f->lot = plan->stages[s].conv.lot;
  f->lot = mt_chain_lot(plan, f->lot);
  for (int s = 0; s < plan->count; s++) {
    const mt_stage_plan *p = &plan->stages[s];
    const int64_t scratch = mt_conv_scratch_floats(&p->conv);
    if (p->pool > 1 && f->lot * mt_stage_out_count(p) > activation) activation = f->lot * mt_stage_out_count(p);
    if (scratch > conv) conv = scratch;
    f->padded_at[s] = replaced_place(f, plan, s);
    if (f->padded_at[s] >= 0) continue;
    f->padded_at[s] = f->scratch_count;
    f->scratch_count += mt_rounded_floats(f->lot * mt_stage_copy_count(plan, s));
  }
  f->activation_at = f->scratch_count;
  f->conv_at = f->activation_at + mt_rounded_floats(activation);
  f->scratch_count = f->conv_at + mt_rounded_floats(conv);
}

static int fold_chain(folded_chain *f, const mt_chain_plan *plan, const mt_conv_stage *stages, int threads) {
  int64_t total = 0, largest = 0;
  *f = (folded_chain){0};
  for (int s = 0; s < plan->count; s++) {
    total += mt_rounded_floats(mt_conv_weight_floats(&plan->stages[s].conv)) + mt_rounded_floats(plan->stages[s].out_c);
    const int64_t folded = stages[s].weight->count;
    if (folded > largest) largest = folded;
  }
  lay_out_folded(f, plan);
  f->memory = mt_alloc((size_t)(total + largest) * sizeof(float));
  f->scratch = mt_alloc((size_t)(threads * f->scratch_count) * sizeof(float));
  if (!f->memory || !f->scratch) return -1;
  float *at = f->memory, *folded = f->memory + total;
  for (int s = 0; s < plan->count; s++) {
    const mt_stage_plan *p = &plan->stages[s];
    f->weights[s] = at;
    f->bias[s] = at + mt_rounded_floats(mt_conv_weight_floats(&p->conv));
    at = f->bias[s] + mt_rounded_floats(p->out_c);
    if (fold_stage(p, &stages[s], folded, f->weights[s], f->bias[s]) < 0) return -1;
  }
  return 0;
}

/* A few images on their way through the stages. */
typedef struct {
  const mt_chain_plan *plan;
  const folded_chain *f;
  int64_t images;
  const float *in[MT_CHAIN_MAX_STAGES]; /* each stage's (padded) input */
  const float *residual;                /* the chain's */
  float *scratch, *out;
} image_lot;

/* What stage s adds before its ReLU: the input of its residual block, or the chain's residual. */
static void set_residual(const image_lot *g, int s, mt_conv_call *call) {
  const mt_stage_plan *p = &g->plan->stages[s];
  if (p->block_stages) {
    const int first = s - p->block_stages + 1;
    const mt_stage_plan *from = &g->plan->stages[first];
    call->residual = g->in[first] + mt_stage_inside(from);
    call->residual_row = from->conv.in_w * from->in_c;
    call->residual_image = mt_stage_in_step(g->plan, first);
  } else if (s == g->plan->count - 1) {
    call->residual = g->residual;
    call->residual_row = p->out_w * p->out_c;
    call->residual_image = mt_stage_out_count(p);
  }
}

/* Stage s, into the next stage's padded input, or to `out` after the last. */
static void eval_stage(image_lot *g, int s) {
  const mt_stage_plan *p = &g->plan->stages[s], *next = s + 1 < g->plan->count ? p + 1 : NULL;
  float *padded = next ? g->scratch + g->f->padded_at[s + 1] : g->out, *activation = g->scratch + g->f->activation_at;
  const int64_t to_row = next ? next->conv.in_w * next->in_c : p->pooled_w * p->out_c;
  const int64_t to_image = next ? mt_conv_in_count(&next->conv) : mt_stage_pooled_count(p);
  float *to = next ? padded + mt_stage_inside(next) : g->out;
  const bool pools = p->pool > 1;
  mt_conv_call call = {.images = g->images,
                       .rows = p->out_h,
                       .in_row = p->conv.in_w * p->in_c,
                       .in = g->in[s],
                       .in_image = mt_stage_in_step(g->plan, s),
                       .weights = g->f->weights[s],
                       .bias = g->f->bias[s],
                       .relu = p->relu,
                       .limit = p->limit,
                       .out = pools ? activation : to,
                       .out_pixel = p->out_c,
                       .out_row = pools ? p->out_w * p->out_c : to_row,
                       .out_image = pools ? mt_stage_out_count(p) : to_image,
                       .scratch = g->scratch + g->f->conv_at};
  set_residual(g, s, &call);
  mt_conv_run(&p->conv, &call);
  for (int64_t i = 0; pools && i < g->images; i++)
    mt_stage_pool(p, activation + i * mt_stage_out_count(p), to + i * to_image, to_row, NULL);
  if (next) g->in[s + 1] = padded;
}

static void eval_images(image_lot *g, const float *input) {
  const int64_t in_count = mt_stage_in_count(&g->plan->stages[0]), in_step = mt_stage_in_step(g->plan, 0);
  for (int64_t i = g->images - 1; i >= 0; i--)
    g->in[0] = mt_stage_input(g->plan, 0, input + i * in_count, NULL, g->scratch + g->f->padded_at[0] + i * in_step,
                              NULL, NULL);
  for (int s = 0; s < g->plan->count; s++) eval_stage(g, s);
}

/* The whole batch. */
typedef struct {
  const mt_chain_plan *plan;
  const folded_chain *f;
  const float *input, *residual;
  float *out;
} evaluation;

static void eval_lots(const void *context, int64_t begin, int64_t end) {
  const evaluation *e = context;
  const int64_t images = e->plan->images, lot = e->f->lot;
  const int64_t in_count = mt_stage_in_count(&e->plan->stages[0]);
  const int64_t out_count = mt_stage_pooled_count(&e->plan->stages[e->plan->count - 1]);
  float *scratch = e->f->scratch + mt_worker() * e->f->scratch_count;
  if (mt_worker_begins()) memset(scratch, 0, (size_t)e->f->activation_at * sizeof(float)); /* the padded inputs */
  for (int64_t n = begin * lot; n < end * lot && n < images; n += lot) {
    image_lot g = {.plan = e->plan,
                   .f = e->f,
                   .images = images - n < lot ? images - n : lot,
                   .residual = e->residual ? e->residual + n * out_count : NULL,
                   .scratch = scratch,
                   .out = e->out + n * out_count};
    eval_images(&g, e->input + n * in_count);
  }
}

mt_tensor *mt_chain_evaluate(const mt_chain_plan *plan, const mt_tensor *input, const mt_conv_stage *stages,
                             const mt_tensor *residual) {
  const int threads = mt_chain_threads(plan);
  mt_tensor *out = mt_chain_new_output(plan);
  folded_chain f = {0};
  const bool ready = out && fold_chain(&f, plan, stages, threads) == 0;
  if (ready) {
    const evaluation e = {plan, &f, mt_f32(input), residual ? mt_f32(residual) : NULL, mt_f32(out)};
    mt_parallel((plan->images + f.lot - 1) / f.lot, 1, eval_lots, &e);
  }
  mt_free(f.memory);
  mt_free(f.scratch);
  if (ready) return out;
  mt_release(out);
  return NULL;
}
