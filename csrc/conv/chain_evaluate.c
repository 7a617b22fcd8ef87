/* A chain in evaluation (conv/chain.h): a few images at a time go through all stages, from scratch to scratch, with the
 * normalisation folded into the convolutions' weights. */
#include <string.h>

#include "conv/chain_plan.h"
#include "core/memory.h"
#include "core/minmax.h"
#include "core/threads.h"
#include "kernels/kernels.h"

/* Folded weights are kept where a call has at most so many images: with more, folding them anew costs little beside the
 * work, and they would only take memory. */
#define MOST_IMAGES_KEPT_FOR 8
/* Threads share a stage in parts of at least so many multiply-adds, and in about so many parts each. */
#define PART_FROM 262144.0
#define PARTS_OF_A_THREAD 3
#define STRIP_BYTES ((int64_t)192 << 10)

/* What the threads share, and how each one's scratch is laid out. */
typedef struct {
  const mt_folded *folded[MT_CHAIN_MAX_STAGES];
  mt_folded own[MT_CHAIN_MAX_STAGES];     /* those that nobody keeps */
  int64_t padded_at[MT_CHAIN_MAX_STAGES]; /* each stage's padded input; only equally padded ones share a place, whose
                                             border is zeroed once */
  int64_t activation_at, conv_at, scratch_count;
  int64_t conv_count; /* floats of a convolution's own scratch; there is one for each sharer */
  int sharers;        /* threads that share the images of a lot; 1: every lot is one thread's */
  int64_t lot;        /* images at a time */
  float *scratch;
} folded_chain;

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
  f->lot = f->sharers > 1 ? mt_min64(f->lot, plan->images) : mt_chain_lot(plan, f->lot);
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
  f->conv_count = mt_rounded_floats(conv);
  f->scratch_count = f->conv_at + f->sharers * f->conv_count;
}

static int fold_stage(folded_chain *f, const mt_chain_plan *plan, const mt_conv_stage *stages, int s) {
  const mt_conv_stage *stage = &stages[s];
  const mt_conv *conv = &plan->stages[s].conv;
  mt_folded *kept = stage->folded;
  if (kept && mt_folded_holds(kept, conv, stage->weight, stage->bias, &stage->norm)) {
    f->folded[s] = kept;
    return 0;
  }
  mt_folded *made = kept && plan->images <= MOST_IMAGES_KEPT_FOR ? kept : &f->own[s];
  f->folded[s] = made;
  return mt_folded_make(made, conv, stage->weight, stage->bias, &stage->norm);
}

static int fold_chain(folded_chain *f, const mt_chain_plan *plan, const mt_conv_stage *stages) {
  const int threads = mt_chain_threads(plan);
  *f = (folded_chain){.sharers = plan->images < mt_num_threads() ? mt_num_threads() : 1};
  lay_out_folded(f, plan);
  f->scratch = mt_alloc((size_t)((f->sharers > 1 ? 1 : threads) * f->scratch_count) * sizeof(float));
  int status = f->scratch ? 0 : -1;
  for (int s = 0; status == 0 && s < plan->count; s++) status = fold_stage(f, plan, stages, s);
  return status;
}

static void free_folded(folded_chain *f, int count) {
  for (int s = 0; s < count; s++) mt_folded_clear(&f->own[s]);
  mt_free(f->scratch);
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

/* ---- one stage, in parts ---- */

/* Output rows and channels of a part. */
typedef struct {
  int64_t rows, strips, channels, slices;
} stage_cut;

/* How many parts the threads want. */
static int64_t parts_to_share(const mt_conv *c, int64_t images, int sharers) {
  const double work = (double)(images * c->out_h * c->out_w * c->out_c) * (double)mt_conv_taps(c);
  return sharers == 1 ? 1 : mt_max64(1, mt_min64((int64_t)(work / PART_FROM), (int64_t)sharers * PARTS_OF_A_THREAD));
}

/* The kernel reads the rows of a strip once for every panel of channels: they should stay in the core's cache. */
static int64_t strips_in_cache(const mt_conv *c, int64_t images) {
  if (c->winograd || c->depthwise || mt_conv_panels(c) == 1) return 1;
  return (images * mt_conv_in_count(c) * (int64_t)sizeof(float) + STRIP_BYTES - 1) / STRIP_BYTES;
}

/* Where the weights are more than what they are laid over, every part has some of them; else some of the rows.
 * Winograd's lie so that all output channels go together. */
static stage_cut cut_stage(const mt_conv *c, int64_t images, int sharers) {
  const int64_t wanted = parts_to_share(c, images, sharers);
  stage_cut cut = {.rows = c->out_h, .strips = 1, .channels = c->out_c, .slices = 1};
  if (!c->winograd && !c->depthwise && mt_conv_weight_floats(c) > mt_conv_in_count(c)) {
    cut.channels = mt_round_up64((c->out_c + wanted - 1) / wanted, mt_conv_panel_channels());
    cut.slices = (c->out_c + cut.channels - 1) / cut.channels;
  } else {
    const int64_t strips = mt_max64(wanted, strips_in_cache(c, images));
    cut.rows = mt_round_up64((c->out_h + strips - 1) / strips, c->tile);
    cut.strips = (c->out_h + cut.rows - 1) / cut.rows;
  }
  return cut;
}

typedef struct {
  const mt_conv *conv;
  const mt_conv_call *call; /* of all images, rows and channels */
  stage_cut cut;
  int64_t conv_count; /* floats of scratch for each worker; 0: one thread does all */
} stage_run;

static void run_parts(const void *context, int64_t begin, int64_t end) {
  const stage_run *r = context;
  for (int64_t part = begin; part < end; part++) {
    const int64_t row = part / r->cut.slices * r->cut.rows, first = part % r->cut.slices * r->cut.channels;
    mt_conv conv = *r->conv;
    mt_conv_call call = *r->call;
    conv.out_c = mt_min64(r->cut.channels, r->conv->out_c - first);
    call.rows = mt_min64(r->cut.rows, r->conv->out_h - row);
    call.in += row * conv.stride[0] * call.in_row;
    call.weights += first * mt_conv_taps(&conv);
    call.bias += first;
    call.out += row * call.out_row + first;
    if (call.residual) call.residual += row * call.residual_row + first;
    if (r->conv_count) call.scratch += mt_worker() * r->conv_count;
    mt_conv_run(&conv, &call);
  }
}

static void convolve(const image_lot *g, const mt_conv *c, const mt_conv_call *call) {
  const bool is_shared = g->f->sharers > 1;
  const stage_run r = {c, call, cut_stage(c, g->images, g->f->sharers), is_shared ? g->f->conv_count : 0};
  const int64_t parts = r.cut.strips * r.cut.slices;
  if (is_shared)
    mt_parallel(parts, 1, run_parts, &r);
  else
    run_parts(&r, 0, parts);
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
                       .weights = g->f->folded[s]->weights,
                       .bias = g->f->folded[s]->bias,
                       .relu = p->relu,
                       .limit = p->limit,
                       .out = pools ? activation : to,
                       .out_pixel = p->out_c,
                       .out_row = pools ? p->out_w * p->out_c : to_row,
                       .out_image = pools ? mt_stage_out_count(p) : to_image,
                       .scratch = g->scratch + g->f->conv_at};
  set_residual(g, s, &call);
  convolve(g, &p->conv, &call);
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

/* Zeros around the padded input of one image. */
static void clear_border(const mt_stage_plan *p, float *image) {
  const int64_t row = p->conv.in_w * p->in_c, left = p->padding[1] * p->in_c, inside = p->in_w * p->in_c;
  const int64_t above = p->padding[0] * row, below = above + p->in_h * row;
  memset(image, 0, (size_t)above * sizeof(float));
  for (float *at = image + above; row > inside && at < image + below; at += row) {
    memset(at, 0, (size_t)left * sizeof(float));
    memset(at + left + inside, 0, (size_t)(row - left - inside) * sizeof(float));
  }
  memset(image + below, 0, (size_t)(mt_conv_in_count(&p->conv) - below) * sizeof(float));
}

static void clear_borders(const mt_chain_plan *plan, const folded_chain *f, float *scratch) {
  for (int s = 0; s < plan->count; s++) {
    const mt_stage_plan *p = &plan->stages[s];
    for (int64_t i = 0; mt_stage_copies(plan, s) && i < f->lot; i++)
      clear_border(p, scratch + f->padded_at[s] + i * mt_conv_in_count(&p->conv));
  }
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
  const bool is_shared = e->f->sharers > 1;
  float *scratch = e->f->scratch + (is_shared ? 0 : mt_worker()) * e->f->scratch_count;
  if (is_shared || mt_worker_begins()) clear_borders(e->plan, e->f, scratch);
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
  mt_tensor *out = mt_chain_new_output(plan);
  folded_chain f = {0};
  const bool ready = out && fold_chain(&f, plan, stages) == 0;
  if (ready) {
    const evaluation e = {plan, &f, mt_f32(input), residual ? mt_f32(residual) : NULL, mt_f32(out)};
    const int64_t lots = (plan->images + f.lot - 1) / f.lot;
    if (f.sharers > 1)
      eval_lots(&e, 0, lots);
    else
      mt_parallel(lots, 1, eval_lots, &e);
  }
  free_folded(&f, plan->count);
  if (ready) return out;
  mt_release(out);
  return NULL;
}
