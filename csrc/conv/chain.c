#include "conv/chain.h"

#include <assert.h>
#include <string.h>

#include "conv/chain_plan.h"
#include "core/batch.h"
#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"

/* A convolution that sums over at most this many values is cheaper to repeat than its output is to keep: it costs
 * ResNet-50 3 % more arithmetic and saves a quarter of its memory. */
#define RECOMPUTE_MAX_TAPS 128
#define RECOMPUTE_MIN_GROWTH 2 /* output channels to those */
/* Residual blocks that run as one: every few images read all their weights, so those must fit in the last-level cache.
 */
#define BLOCKS_MAX_WEIGHT_BYTES ((int64_t)16 << 20)

static const mt_op conv_chain_op = {.name = "conv_chain", .backward = mt_chain_backward};

/* ---- the plan ---- */

/* With one output for each channel. (One channel alone is as well an ordinary convolution.) */
static bool is_depthwise(const mt_conv_stage *s, int64_t channels) {
  return channels > 1 && s->groups == channels && s->weight->shape[2] == 1 && s->weight->shape[3] == channels;
}

static int plan_stage(mt_stage_plan *p, const mt_conv_stage *s, int64_t images, int64_t h, int64_t w, int64_t c) {
  if (s->weight->ndim != 4 || s->weight->dtype != MT_FLOAT32 || s->dilation[0] != 1 || s->dilation[1] != 1) return -1;
  const bool depthwise = is_depthwise(s, c);
  if (!depthwise && (s->weight->shape[2] != c || s->groups != 1)) return -1;
  const int64_t *kernel = s->weight->shape, *stride = s->stride, size[2] = {h, w};
  int64_t padding[2], padded[2];
  for (int i = 0; i < 2; i++) {
    int64_t surplus = s->surplus[i];
    padding[i] = s->padding[i];
    if (s->same) mt_conv_pad_same(size[i], kernel[i], stride[i], &padding[i], &surplus);
    padded[i] = size[i] + 2 * padding[i] + surplus;
  }
  if (padded[0] < kernel[0] || padded[1] < kernel[1]) return -1;
  const int64_t out[2] = {(padded[0] - kernel[0]) / stride[0] + 1, (padded[1] - kernel[1]) / stride[1] + 1};
  *p = (mt_stage_plan){.in_h = h,
                       .in_w = w,
                       .in_c = c,
                       .padding = {padding[0], padding[1]},
                       .out_h = out[0],
                       .out_w = out[1],
                       .out_c = s->weight->shape[3],
                       .pool = s->pool,
                       .pooled_h = out[0] / s->pool,
                       .pooled_w = out[1] / s->pool,
                       .relu = s->relu,
                       .limit = s->limit,
                       .block_stages = s->block_stages};
  if (p->pooled_h < 1 || p->pooled_w < 1 || p->out_c < 1 || c < 1) return -1;
  p->conv = depthwise ? mt_conv_plan_depthwise(kernel, stride, padded, c, out)
                      : mt_conv_plan(images, kernel, stride, padded, c, out, p->out_c);
  return 0;
}

static bool is_vector(const mt_tensor *t, int64_t size) {
  return t->dtype == MT_FLOAT32 && t->ndim == 1 && t->shape[0] == size;
}

static bool parameters_fit(const mt_conv_stage *s, int64_t channels) {
  const mt_norm *n = &s->norm;
  return (!s->bias || is_vector(s->bias, channels)) && is_vector(n->gamma, channels) && is_vector(n->beta, channels) &&
         is_vector(n->running_mean, channels) && is_vector(n->running_var, channels);
}

/* Whether the residual block that ends with stage s begins with an input of the size of its output. */
static bool block_fits(const mt_chain_plan *plan, int s) {
  const mt_stage_plan *last = &plan->stages[s], *first = last - last->block_stages + 1;
  return last->block_stages <= s + 1 && last->pool == 1 && !last->conv.depthwise && first->in_h == last->out_h &&
         first->in_w == last->out_w && first->in_c == last->out_c;
}

/* -1 (without an error) when something does not fit: the separate operations say what. */
static int make_plan(mt_chain_plan *plan, const mt_tensor *input, const mt_conv_stage *stages, int count,
                     const mt_tensor *residual) {
  if (count < 1 || count > MT_CHAIN_MAX_STAGES || input->dtype != MT_FLOAT32 || input->ndim != 4) return -1;
  *plan = (mt_chain_plan){
      .count = count, .images = input->shape[0], .has_residual = residual != NULL, .adds_input = residual == input};
  int64_t h = input->shape[1], w = input->shape[2], c = input->shape[3];
  for (int i = 0; i < count; i++) {
    mt_stage_plan *p = &plan->stages[i];
    if (plan_stage(p, &stages[i], plan->images, h, w, c) < 0 || !parameters_fit(&stages[i], p->out_c)) return -1;
    if (p->block_stages && !block_fits(plan, i)) return -1;
    h = p->pooled_h;
    w = p->pooled_w;
    c = p->out_c;
  }
  const mt_stage_plan *last = &plan->stages[count - 1];
  if (residual) {
    const int64_t shape[4] = {plan->images, last->out_h, last->out_w, last->out_c};
    if (last->block_stages || last->pool != 1 || last->conv.depthwise || residual->dtype != MT_FLOAT32 ||
        residual->ndim != 4 || memcmp(residual->shape, shape, sizeof shape) != 0)
      return -1;
    const int64_t taps = mt_conv_taps(&last->conv);
    plan->recomputes =
        taps <= RECOMPUTE_MAX_TAPS && last->out_c >= RECOMPUTE_MIN_GROWTH * taps && !stages[count - 1].bias;
  }
  return 0;
}

/* The stage where the way back ends, as mt_chain_plan says. */
static int first_wanted(const mt_tensor *input, const mt_conv_stage *stages, int count) {
  int first = 0;
  if (mt_needs_grad(input)) return 0;
  while (first < count && !mt_needs_grad(stages[first].weight) && !mt_needs_grad(stages[first].bias) &&
         !mt_needs_grad(stages[first].norm.gamma) && !mt_needs_grad(stages[first].norm.beta))
    first++;
  return first;
}

static bool blocks_belong_together(const mt_chain_plan *plan) {
  int64_t floats = 0;
  int blocks = 0;
  for (int i = 0; i < plan->count; i++) {
    floats += mt_conv_weight_floats(&plan->stages[i].conv);
    blocks += plan->stages[i].block_stages > 0;
  }
  return blocks < 2 || floats * (int64_t)sizeof(float) <= BLOCKS_MAX_WEIGHT_BYTES;
}

bool mt_chain_fits(const mt_tensor *input, const mt_conv_stage *stages, int count, const mt_tensor *residual,
                   bool training) {
  /* First what is quickly known: callers ask again and again, with fewer and fewer stages. */
  const bool gradients = first_wanted(input, stages, count) < count || mt_needs_grad(residual);
  if ((gradients && !training) || input->ndim != 4 || input->shape[0] < (training ? mt_num_threads() : 1)) return false;
  mt_chain_plan plan;
  if (make_plan(&plan, input, stages, count, residual) < 0) return false;
  if (!training) return blocks_belong_together(&plan);
  for (int i = 0; i < count; i++) {
    const mt_stage_plan *p = &plan.stages[i];
    if (p->block_stages || (plan.images * p->out_h * p->out_w < 2 && !mt_batch_sum())) return false;
  }
  return true;
}

int mt_chain_threads(const mt_chain_plan *plan) {
  const int threads = mt_num_threads();
  return plan->images < threads ? (int)plan->images : threads;
}

int64_t mt_chain_lot(const mt_chain_plan *plan, int64_t suitable) {
  const int64_t threads = mt_chain_threads(plan), share = (plan->images + threads - 1) / threads;
  return suitable < share ? suitable : share;
}

/* Of a piece of an image, in and out. */
#define PIECE_FLOATS ((int64_t)64 << 10)

static bool sees_pixels(const mt_chain_plan *plan, int s) {
  const mt_stage_plan *p = &plan->stages[s];
  return p->conv.kernel[0] == 1 && p->conv.kernel[1] == 1 && p->conv.stride[0] == 1 && p->conv.stride[1] == 1 &&
         p->conv.in_h == p->in_h && p->conv.in_w == p->in_w && p->pool == 1 && (s == 0 || (p - 1)->pool == 1);
}

mt_chain_plan mt_chain_cut(const mt_chain_plan *plan, int s) {
  mt_chain_plan cut = *plan;
  mt_stage_plan *p = &cut.stages[s], *last = &cut.stages[cut.count - 1];
  if (!sees_pixels(plan, s)) return cut;
  int64_t rows = p->in_h;
  for (int64_t i = rows; i > 1 && rows * p->in_w * (p->in_c + p->out_c) > PIECE_FLOATS; i--)
    if (p->in_h % i == 0) rows = i;
  cut.images *= p->in_h / rows;
  if (s == 0 && cut.adds_input) last->out_h = last->pooled_h = rows; /* as high as the input */
  if (s > 0) (p - 1)->out_h = (p - 1)->pooled_h = rows;
  p->in_h = p->out_h = p->pooled_h = p->conv.in_h = p->conv.out_h = rows;
  return cut;
}

/* ---- one image ---- */

void mt_stage_activate(const mt_stage_plan *p, const float *z, const float *statistics, const float *residual,
                       float *out, int64_t out_row) {
  const mt_norm_image image = {.z = z,
                               .scale = statistics + MT_STAT_SCALE * p->out_c,
                               .shift = statistics + MT_STAT_SHIFT * p->out_c,
                               .residual = residual,
                               .relu = p->relu,
                               .limit = p->limit,
                               .rows = p->out_h,
                               .width = p->out_w,
                               .channels = p->out_c};
  mt_kernels->norm_forward(&image, out, out_row);
}

mt_pool_shape mt_stage_pool_shape(const mt_stage_plan *p) {
  return (mt_pool_shape){.in_size = {p->out_h, p->out_w},
                         .out_size = {p->pooled_h, p->pooled_w},
                         .channels = p->out_c,
                         .kernel = {p->pool, p->pool},
                         .stride = {p->pool, p->pool},
                         .dilation = {1, 1}};
}

void mt_stage_pool(const mt_stage_plan *p, const float *activation, float *out, int64_t out_row, void *index) {
  const mt_pool_shape shape = mt_stage_pool_shape(p);
  for (int64_t y = 0; y < p->pooled_h; y++) mt_kernels->max_pool_row(&shape, activation, y, out, out_row, index);
}

const float *mt_stage_input(const mt_chain_plan *plan, int s, const float *before, const float *statistics,
                            float *padded, float *activation, void *index) {
  const mt_stage_plan *p = &plan->stages[s], *previous = p - 1;
  assert(s == 0 || (previous->pooled_h == p->in_h && previous->pooled_w == p->in_w && previous->out_c == p->in_c));
  const int64_t row = p->conv.in_w * p->in_c, count = p->in_w * p->in_c;
  float *inside = padded + mt_stage_inside(p);
  if (!mt_stage_copies(plan, s)) return before;
  if (s == 0) {
    for (int64_t y = 0; y < p->in_h; y++) memcpy(inside + y * row, before + y * count, (size_t)count * sizeof(float));
  } else if (previous->pool > 1) {
    mt_stage_activate(previous, before, statistics, NULL, activation, previous->out_w * p->in_c);
    mt_stage_pool(previous, activation, inside, row, index);
  } else {
    mt_stage_activate(previous, before, statistics, NULL, inside, row);
  }
  return padded;
}

/* ---- training ---- */

/* One thread's scratch, in floats from its start; each part begins at a vector's boundary. */
typedef struct {
  int64_t padded, conv, activation, count;
} forward_scratch;

static forward_scratch lay_out_forward(const mt_chain_plan *plan, int s) {
  const mt_stage_plan *p = &plan->stages[s];
  const int64_t activation = s > 0 && plan->stages[s - 1].pool > 1 ? mt_stage_out_count(&plan->stages[s - 1]) : 0;
  forward_scratch at = {0};
  at.conv = at.padded + mt_rounded_floats(p->conv.lot * mt_stage_copy_count(plan, s));
  at.activation = at.conv + mt_rounded_floats(mt_conv_scratch_floats(&p->conv));
  at.count = at.activation + mt_rounded_floats(activation);
  return at;
}

/* Stage s over the whole batch. */
typedef struct {
  const mt_chain_plan *plan;
  int s;
  const float *before, *statistics; /* the convolution before it (or the chain's input), and that one's statistics */
  const mt_tensor *maxima;          /* receives those of that one's pooling; NULL: not wanted */
  const float *weights, *bias;      /* weights: prepared */
  float *z;
  float *moments; /* of each image: means, then sums of squared distances from them; 2 x channels */
} forward_pass;

/* A lot of images from `first` on. */
static void forward_lot(const forward_pass *f, int64_t first, int64_t images, const forward_scratch *at,
                        float *scratch) {
  const mt_chain_plan *plan = f->plan;
  const int s = f->s;
  const mt_stage_plan *p = &plan->stages[s];
  const int64_t before_count = s > 0 ? mt_stage_out_count(&plan->stages[s - 1]) : mt_stage_in_count(p);
  const int64_t out_count = mt_stage_out_count(p), in_step = mt_stage_in_step(plan, s);
  float *out = f->z + first * out_count;
  const float *in = NULL;
  for (int64_t i = images - 1; i >= 0; i--)
    in = mt_stage_input(plan, s, f->before + (first + i) * before_count, f->statistics,
                        scratch + at->padded + i * in_step, scratch + at->activation,
                        mt_stage_maxima(f->maxima, first + i));
  const mt_conv_call call = {.images = images,
                             .rows = p->out_h,
                             .in = in,
                             .in_row = p->conv.in_w * p->in_c,
                             .in_image = in_step,
                             .weights = f->weights,
                             .bias = f->bias,
                             .out = out,
                             .out_pixel = p->out_c,
                             .out_row = p->out_w * p->out_c,
                             .out_image = out_count,
                             .scratch = scratch + at->conv};
  mt_conv_run(&p->conv, &call);
  for (int64_t i = 0; i < images; i++) {
    float *mean = f->moments + (first + i) * 2 * p->out_c;
    mt_kernels->norm_moments(out + i * out_count, p->out_h * p->out_w, p->out_c, mean, mean + p->out_c);
  }
}

typedef struct {
  const forward_pass *pass;
  int64_t lot;
  const forward_scratch *at;
  float *scratch; /* at->count of each worker */
} forward_run;

static void forward_lots(const void *context, int64_t begin, int64_t end) {
  const forward_run *r = context;
  const int64_t images = r->pass->plan->images;
  float *own = r->scratch + mt_worker() * r->at->count;
  if (mt_worker_begins()) memset(own, 0, (size_t)(r->at->conv - r->at->padded) * sizeof(float));
  for (int64_t first = begin * r->lot; first < end * r->lot && first < images; first += r->lot)
    forward_lot(r->pass, first, images - first < r->lot ? images - first : r->lot, r->at, own);
}

/* What a stage leaves for the next one, and for the way back. */
typedef struct {
  mt_tensor *z, *statistics, *maxima; /* maxima: NULL where there are none to note */
} stage_values;

static int train_stage(const mt_chain_plan *whole, int s, const mt_conv_stage *stage, const mt_tensor *input,
                       const stage_values *before, const stage_values *values) {
  const mt_chain_plan cut = mt_chain_cut(whole, s), *plan = &cut;
  const mt_stage_plan *p = &plan->stages[s];
  const int threads = mt_chain_threads(plan);
  const forward_scratch at = lay_out_forward(plan, s);
  const int64_t lot = mt_chain_lot(plan, p->conv.lot), pixels = p->out_h * p->out_w;
  float *moments = mt_alloc((size_t)(plan->images * 2 * p->out_c) * sizeof(float));
  float *scratch = mt_alloc((size_t)(threads * at.count) * sizeof(float));
  float *weights = mt_alloc((size_t)mt_conv_weight_floats(&p->conv) * sizeof(float));
  int status = moments && scratch && weights ? 0 : -1;
  const mt_taps taps = mt_conv_own_taps(&p->conv, mt_f32(stage->weight));
  if (status == 0) status = mt_conv_prepare(&p->conv, &taps, weights);
  if (status == 0) {
    const forward_pass f = {.plan = plan,
                            .s = s,
                            .before = mt_f32(before ? before->z : input),
                            .statistics = before ? mt_f32(before->statistics) : NULL,
                            .maxima = before ? before->maxima : NULL,
                            .weights = weights,
                            .bias = stage->bias ? mt_f32(stage->bias) : NULL,
                            .z = mt_f32(values->z),
                            .moments = moments};
    mt_parallel((plan->images + lot - 1) / lot, 1, forward_lots, &(forward_run){&f, lot, &at, scratch});
    status = mt_batch_statistics(&stage->norm, &(mt_moments){moments, pixels, plan->images * pixels},
                                 mt_f32(values->statistics));
  }
  mt_free(moments);
  mt_free(scratch);
  mt_free(weights);
  return status;
}

typedef struct {
  const mt_stage_plan *stage;
  const stage_values *values;
  const float *residual; /* NULL where there is none */
  float *out;
  float *scratch; /* one activation of each worker; NULL where nothing is pooled */
} materialisation;

static void materialise_images(const void *context, int64_t begin, int64_t end) {
  const materialisation *m = context;
  const mt_stage_plan *p = m->stage;
  const int64_t count = mt_stage_out_count(p), pooled = mt_stage_pooled_count(p);
  for (int64_t n = begin; n < end; n++) {
    float *to = m->out + n * pooled, *activation = m->scratch ? m->scratch + mt_worker() * count : to;
    mt_stage_activate(p, mt_f32(m->values->z) + n * count, mt_f32(m->values->statistics),
                      m->residual ? m->residual + n * count : NULL, activation, p->out_w * p->out_c);
    if (m->scratch) mt_stage_pool(p, activation, to, p->pooled_w * p->out_c, mt_stage_maxima(m->values->maxima, n));
  }
}

/* The last stage's normalisation, residual, ReLU and pooling, into a tensor of its own. */
static int materialise(const mt_chain_plan *plan, const stage_values *values, const mt_tensor *residual,
                       mt_tensor *out) {
  const mt_stage_plan *p = &plan->stages[plan->count - 1];
  const int64_t count = mt_stage_out_count(p);
  float *scratch = p->pool > 1 ? mt_alloc((size_t)(mt_chain_threads(plan) * count) * sizeof(float)) : NULL;
  if (p->pool > 1 && !scratch) return -1;
  const materialisation m = {p, values, residual ? mt_f32(residual) : NULL, mt_f32(out), scratch};
  mt_parallel(plan->images, mt_chunk(plan->images, count, 1 << 14), materialise_images, &m);
  mt_free(scratch);
  return 0;
}

mt_tensor *mt_chain_new_output(const mt_chain_plan *plan) {
  const mt_stage_plan *p = &plan->stages[plan->count - 1];
  const int64_t shape[4] = {plan->images, p->pooled_h, p->pooled_w, p->out_c};
  return mt_tensor_new(MT_FLOAT32, 4, shape);
}

static mt_tensor *record(const mt_chain_plan *plan, mt_tensor *out, mt_tensor *input, const mt_conv_stage *stages,
                         mt_tensor *residual, const stage_values *values) {
  mt_tensor *inputs[MT_CHAIN_STAGES + MT_STAGE_INPUTS * MT_CHAIN_MAX_STAGES] = {input,
                                                                                plan->adds_input ? NULL : residual};
  mt_tensor *saved[MT_SAVED_STAGES + MT_STAGE_SAVED * MT_CHAIN_MAX_STAGES] = {
      plan->first == 0 ? input : NULL, residual && stages[plan->count - 1].relu ? out : NULL};
  for (int s = 0; s < plan->count; s++) {
    mt_tensor **in = inputs + MT_CHAIN_STAGES + s * MT_STAGE_INPUTS;
    in[MT_STAGE_WEIGHT] = stages[s].weight;
    in[MT_STAGE_BIAS] = stages[s].bias;
    in[MT_STAGE_GAMMA] = stages[s].norm.gamma;
    in[MT_STAGE_BETA] = stages[s].norm.beta;
    mt_tensor **keep = saved + MT_SAVED_STAGES + s * MT_STAGE_SAVED;
    if (!mt_stage_is_kept(plan, s)) continue;
    keep[MT_SAVED_Z] = plan->recomputes && s == plan->count - 1 ? NULL : values[s].z;
    keep[MT_SAVED_STATISTICS] = values[s].statistics;
    keep[MT_SAVED_MAXIMA] = values[s].maxima;
    keep[MT_SAVED_WEIGHT] = stages[s].weight;
  }
  return mt_recorded(out, &conv_chain_op, MT_CHAIN_STAGES + plan->count * MT_STAGE_INPUTS, inputs,
                     MT_SAVED_STAGES + plan->count * MT_STAGE_SAVED, saved, plan, sizeof *plan);
}

static void drop(stage_values *v) {
  mt_release(v->z);
  mt_release(v->statistics);
  mt_release(v->maxima);
  *v = (stage_values){NULL, NULL, NULL};
}

static int new_values(const mt_chain_plan *plan, int s, stage_values *v) {
  const mt_stage_plan *p = &plan->stages[s];
  const int64_t z[4] = {plan->images, p->out_h, p->out_w, p->out_c}, statistics[2] = {MT_STAT_ROWS, p->out_c};
  const int64_t pooled[4] = {plan->images, p->pooled_h, p->pooled_w, p->out_c};
  const mt_pool_shape shape = mt_stage_pool_shape(p);
  const bool notes = p->pool > 1 && mt_stage_is_kept(plan, s);
  v->z = mt_tensor_new(MT_FLOAT32, 4, z);
  v->statistics = v->z ? mt_tensor_new(MT_FLOAT32, 2, statistics) : NULL;
  if (v->statistics && notes) v->maxima = mt_tensor_new(mt_pool_index_is_wide(&shape) ? MT_INT32 : MT_UINT8, 4, pooled);
  return v->statistics && (v->maxima || !notes) ? 0 : -1;
}

static mt_tensor *train_chain(const mt_chain_plan *plan, mt_tensor *input, const mt_conv_stage *stages,
                              mt_tensor *residual) {
  stage_values values[MT_CHAIN_MAX_STAGES] = {{NULL, NULL, NULL}};
  mt_tensor *out = NULL;
  int status = 0;
  for (int s = 0; s < plan->count && status == 0; s++) {
    status = new_values(plan, s, &values[s]);
    if (status == 0) status = train_stage(plan, s, &stages[s], input, s ? &values[s - 1] : NULL, &values[s]);
    if (s > 0 && !mt_stage_is_kept(plan, s - 1)) drop(&values[s - 1]);
  }
  if (status == 0) out = mt_chain_new_output(plan);
  if (out && materialise(plan, &values[plan->count - 1], residual, out) < 0) {
    mt_release(out);
    out = NULL;
  }
  if (out) out = record(plan, out, input, stages, residual, values);
  for (int s = 0; s < plan->count; s++) drop(&values[s]);
  return out;
}

mt_tensor *mt_chain(mt_tensor *input, const mt_conv_stage *stages, int count, mt_tensor *residual, bool training) {
  mt_chain_plan plan;
  if (make_plan(&plan, input, stages, count, residual) < 0 || plan.images == 0)
    return mt_fail_null(MT_ERROR_ARGUMENT, "conv_chain: the stages' shapes do not fit together");
  plan.first = first_wanted(input, stages, count);
  return training ? train_chain(&plan, input, stages, residual) : mt_chain_evaluate(&plan, input, stages, residual);
}
