/* A chain in evaluation (conv_chain.h): a few images at a time go through all stages, from scratch to scratch, with the
 * normalisation folded into the convolutions' weights. */
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "ops/conv_chain_plan.h"

/* What the threads share, and how each one's scratch is laid out. */
typedef struct {
  float *weights[MT_CHAIN_MAX_STAGES], *bias[MT_CHAIN_MAX_STAGES];
  int64_t padded_at[MT_CHAIN_MAX_STAGES]; /* each stage's padded input; only equally padded ones share a place, whose
                                             border is zeroed once */
  int64_t activation_at, conv_at, scratch_count;
  int64_t group; /* images at a time */
  float *memory, *scratch;
} folded_chain;

typedef struct {
  const float *weight, *factors; /* factors: one for each output channel */
  float *folded;
  int64_t channels;
} row_scaling;

static void scale_rows(const void *context, int64_t begin, int64_t end) {
  const row_scaling *s = context;
  for (int64_t row = begin * s->channels; row < end * s->channels; row += s->channels)
    for (int64_t c = 0; c < s->channels; c++) s->folded[row + c] = s->weight[row + c] * s->factors[c];
}

static int fold_stage(const mt_stage_plan *p, const mt_conv_stage *stage, float *folded, float *weights, float *bias) {
  float *factors = folded + stage->weight->count;
  const int64_t rows = stage->weight->count / p->out_c;
  for (int64_t c = 0; c < p->out_c; c++) {
    const double scale =
        (double)mt_f32(stage->gamma)[c] / sqrt((double)mt_f32(stage->running_var)[c] + (double)stage->eps);
    const double b = stage->bias ? (double)mt_f32(stage->bias)[c] : 0.0;
    factors[c] = (float)scale;
    bias[c] = (float)((double)mt_f32(stage->beta)[c] + (b - (double)mt_f32(stage->running_mean)[c]) * scale);
  }
  mt_parallel(rows, mt_chunk(rows, p->out_c, 1 << 15), scale_rows,
              &(row_scaling){mt_f32(stage->weight), factors, folded, p->out_c});
  return mt_block_conv_prepare(&p->conv, folded, false, weights);
}

/* The last stage that reads stage s's input: s itself, or the end of the longest residual block that begins with s. */
static int last_reader(const mt_chain_plan *plan, int s) {
  int end = plan->count - 1;
  while (end > s && plan->stages[end].block != end - s + 1) end--;
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
  f->group = 1;
  for (int s = 0; s < plan->count; s++)
    if (plan->stages[s].conv.group > f->group) f->group = plan->stages[s].conv.group;
  f->group = mt_chain_group(plan, f->group);
  for (int s = 0; s < plan->count; s++) {
    const mt_stage_plan *p = &plan->stages[s];
    const int64_t scratch = mt_block_conv_scratch_floats(&p->conv);
    if (p->pool > 1 && f->group * mt_stage_out_count(p) > activation) activation = f->group * mt_stage_out_count(p);
    if (scratch > conv) conv = scratch;
    f->padded_at[s] = replaced_place(f, plan, s);
    if (f->padded_at[s] >= 0) continue;
    f->padded_at[s] = f->scratch_count;
    f->scratch_count += mt_block_conv_rounded(f->group * mt_stage_copy_count(plan, s));
  }
  f->activation_at = f->scratch_count;
  f->conv_at = f->activation_at + mt_block_conv_rounded(activation);
  f->scratch_count = f->conv_at + mt_block_conv_rounded(conv);
}

static int fold_chain(folded_chain *f, const mt_chain_plan *plan, const mt_conv_stage *stages, int threads) {
  int64_t total = 0, largest = 0;
  *f = (folded_chain){0};
  for (int s = 0; s < plan->count; s++) {
    total += mt_block_conv_rounded(mt_block_conv_weight_floats(&plan->stages[s].conv)) +
             mt_block_conv_rounded(plan->stages[s].out_c);
    const int64_t folded = stages[s].weight->count + plan->stages[s].out_c;
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
    f->bias[s] = at + mt_block_conv_rounded(mt_block_conv_weight_floats(&p->conv));
    at = f->bias[s] + mt_block_conv_rounded(p->out_c);
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
} image_group;

/* What stage s adds before its ReLU: the input of its residual block, or the chain's residual. */
static void set_residual(const image_group *g, int s, mt_block_conv_call *call) {
  const mt_stage_plan *p = &g->plan->stages[s];
  if (p->block) {
    const int first = s - p->block + 1;
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
static void eval_stage(image_group *g, int s) {
  const mt_stage_plan *p = &g->plan->stages[s], *next = s + 1 < g->plan->count ? p + 1 : NULL;
  float *padded = next ? g->scratch + g->f->padded_at[s + 1] : g->out, *activation = g->scratch + g->f->activation_at;
  const int64_t to_row = next ? next->conv.in_w * next->in_c : p->pooled_w * p->out_c;
  const int64_t to_image = next ? mt_block_conv_in_count(&next->conv) : mt_stage_pooled_count(p);
  float *to = next ? padded + mt_stage_inside(next) : g->out;
  const bool pools = p->pool > 1;
  mt_block_conv_call call = {.images = g->images,
                             .in = g->in[s],
                             .in_image = mt_stage_in_step(g->plan, s),
                             .weights = g->f->weights[s],
                             .bias = g->f->bias[s],
                             .relu = p->relu,
                             .out = pools ? activation : to,
                             .out_row = pools ? p->out_w * p->out_c : to_row,
                             .out_image = pools ? mt_stage_out_count(p) : to_image,
                             .scratch = g->scratch + g->f->conv_at};
  set_residual(g, s, &call);
  mt_block_conv_run(&p->conv, &call);
  for (int64_t i = 0; pools && i < g->images; i++)
    mt_kernels->stage_pool(activation + i * mt_stage_out_count(p), p->out_h, p->out_w, p->out_c, p->pool,
                           to + i * to_image, to_row);
  if (next) g->in[s + 1] = padded;
}

static void eval_images(image_group *g, const float *input) {
  const int64_t in_count = mt_stage_in_count(&g->plan->stages[0]), in_step = mt_stage_in_step(g->plan, 0);
  for (int64_t i = g->images - 1; i >= 0; i--)
    g->in[0] =
        mt_stage_input(g->plan, 0, input + i * in_count, NULL, g->scratch + g->f->padded_at[0] + i * in_step, NULL);
  for (int s = 0; s < g->plan->count; s++) eval_stage(g, s);
}

/* The whole batch. */
typedef struct {
  const mt_chain_plan *plan;
  const folded_chain *f;
  const float *input, *residual;
  float *out;
} evaluation;

static void eval_groups(const void *context, int64_t begin, int64_t end) {
  const evaluation *e = context;
  const int64_t images = e->plan->images, group = e->f->group;
  const int64_t in_count = mt_stage_in_count(&e->plan->stages[0]);
  const int64_t out_count = mt_stage_pooled_count(&e->plan->stages[e->plan->count - 1]);
  float *scratch = e->f->scratch + mt_worker() * e->f->scratch_count;
  if (mt_worker_begins()) memset(scratch, 0, (size_t)e->f->activation_at * sizeof(float)); /* the padded inputs */
  for (int64_t n = begin * group; n < end * group && n < images; n += group) {
    image_group g = {.plan = e->plan,
                     .f = e->f,
                     .images = images - n < group ? images - n : group,
                     .residual = e->residual ? e->residual + n * out_count : NULL,
                     .scratch = scratch,
                     .out = e->out + n * out_count};
    eval_images(&g, e->input + n * in_count);
  }
}

mt_tensor *mt_conv_chain_evaluate(const mt_chain_plan *plan, const mt_tensor *input, const mt_conv_stage *stages,
                                  const mt_tensor *residual) {
  const int threads = mt_chain_threads(plan);
  mt_tensor *out = mt_chain_new_output(plan);
  folded_chain f = {0};
  const bool ready = out && fold_chain(&f, plan, stages, threads) == 0;
  if (ready) {
    const evaluation e = {plan, &f, mt_f32(input), residual ? mt_f32(residual) : NULL, mt_f32(out)};
    mt_parallel((plan->images + f.group - 1) / f.group, 1, eval_groups, &e);
  }
  mt_free(f.memory);
  mt_free(f.scratch);
  if (ready) return out;
  mt_release(out);
  return NULL;
}
