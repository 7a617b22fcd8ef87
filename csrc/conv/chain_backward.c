/* The way back through a chain (conv/chain.h), last stage first.
 *
 * Batch normalisation's backward needs two sums over the whole batch before it can give any value. So each stage's turn
 * has one parallel region that finishes the stage (its sums are known): per image, the gradient of the convolution's
 * output goes into a padded scratch image; from it come the weights' gradient and the gradient of the stage's input,
 * and right away, while both are in cache, the sums of the stage before. */
#include "conv/chain_plan.h"

#include <string.h>

#include "conv/input_grad.h"
#include "core/memory.h"
#include "core/minmax.h"
#include "core/threads.h"
#include "kernels/kernels.h"

typedef struct {
  const mt_chain_plan *plan;
  mt_node *node;
  const float *grad_output; /* of the chain's output */
  const float *grad;        /* of stage s's (pooled) output */
  int s, threads;
  double *sums;   /* threads x 2 x channels: of the stage whose sums are being gathered */
  float *factors; /* 2 x channels: slope and offset of stage s */
  float *scratch;
  int64_t scratch_count;
  mt_input_grad back; /* from the gradient of stage s's convolution to that of its input */
  float *flipped;     /* weights prepared for it; NULL when the stage's input needs no gradient */
  float *weight_sums; /* of each thread; NULL when the weight needs no gradient */
  float *grad_input;  /* receives the gradient of the stage's input */
  float *last_z;      /* the last convolution's output, where it was not kept */
} backward_pass;

/* ---- what the node saved ---- */

static mt_tensor *saved(const backward_pass *b, int s, int which) {
  return b->node->saved[MT_SAVED_STAGES + s * MT_STAGE_SAVED + which];
}

static const float *statistic(const backward_pass *b, int s, int row) {
  return mt_f32(saved(b, s, MT_SAVED_STATISTICS)) + row * b->plan->stages[s].out_c;
}

static const float *z_image(const backward_pass *b, int s, int64_t n) {
  const mt_tensor *z = saved(b, s, MT_SAVED_Z);
  return (z ? mt_f32(z) : b->last_z) + n * mt_stage_out_count(&b->plan->stages[s]);
}

/* ---- one thread's share of the images, and its scratch ---- */

/* Its images [begin, end): fixed, because the sums of its images are its own. */
static void share_of(const backward_pass *b, int thread, int64_t *begin, int64_t *end) {
  *begin = b->plan->images * thread / b->threads;
  *end = b->plan->images * (thread + 1) / b->threads;
}

typedef struct {
  float *padded;      /* the inputs of a lot of images */
  float *grad_padded; /* the gradients of their convolutions' outputs */
  float *activation;  /* of one image, before pooling */
  float *unpooled;    /* its gradient */
  float *image_sums;  /* 2 x channels */
  float *conv;        /* the convolutions' own scratch */
} scratch_parts;

static mt_input_grad plan_back(const backward_pass *b, bool input_needed) {
  const mt_stage_plan *p = &b->plan->stages[b->s];
  return mt_input_grad_plan(&p->conv, b->plan->images, (const int64_t[2]){p->in_h, p->in_w}, p->padding, input_needed);
}

static int64_t grad_row(const backward_pass *b) { return b->back.grad_w * b->back.grad_c; }
static int64_t grad_step(const backward_pass *b) { return mt_input_grad_count(&b->back); }

static int64_t lot_of(const backward_pass *b) { return mt_max64(b->plan->stages[b->s].conv.lot, b->back.lot); }

static int64_t unpooled_count(const mt_stage_plan *p) { return p->pool > 1 ? mt_stage_out_count(p) : 0; }

/* Sizes for the current stage and the one before; parts may be NULL to learn the total alone. */
static int64_t lay_out_scratch(const backward_pass *b, float *base, scratch_parts *parts) {
  const mt_stage_plan *p = &b->plan->stages[b->s], *before = b->s > 0 ? p - 1 : p;
  const int64_t lot = lot_of(b), unpooled = mt_max64(unpooled_count(p), unpooled_count(before));
  const int64_t sizes[] = {lot * mt_stage_copy_count(b->plan, b->s),
                           lot * grad_step(b),
                           unpooled,
                           unpooled,
                           2 * mt_max64(p->out_c, before->out_c),
                           mt_max64(mt_conv_scratch_floats(&p->conv), b->back.scratch)};
  enum { PARTS = sizeof sizes / sizeof sizes[0] };
  int64_t at[PARTS + 1] = {0};
  for (int i = 0; i < PARTS; i++) at[i + 1] = at[i] + mt_rounded_floats(sizes[i]);
  if (parts)
    *parts = (scratch_parts){.padded = base + at[0],
                             .grad_padded = base + at[1],
                             .activation = base + at[2],
                             .unpooled = base + at[3],
                             .image_sums = base + at[4],
                             .conv = base + at[5]};
  return at[PARTS];
}

/* ---- ReLU and batch normalisation of one stage, one image ---- */

/* Stage s's image n on its way back; `grad` is of its output, which is spread over the windows of a pooling in
 * parts->unpooled. */
static mt_norm_grad_image grad_image(const backward_pass *b, int s, int64_t n, const float *grad,
                                     const scratch_parts *parts) {
  const mt_stage_plan *p = &b->plan->stages[s];
  mt_norm_grad_image r = {.grad = grad,
                          .z = z_image(b, s, n),
                          .relu = p->relu,
                          .limit = p->limit,
                          .rows = p->out_h,
                          .width = p->out_w,
                          .channels = p->out_c,
                          .scale = statistic(b, s, MT_STAT_SCALE),
                          .shift = statistic(b, s, MT_STAT_SHIFT),
                          .mean = statistic(b, s, MT_STAT_MEAN)};
  if (b->plan->has_residual && p->relu && s == b->plan->count - 1)
    r.mask = mt_f32(b->node->saved[MT_SAVED_OUTPUT]) + n * mt_stage_out_count(p);
  if (p->pool > 1) {
    const mt_pool_shape shape = mt_stage_pool_shape(p);
    const void *maxima = mt_stage_maxima(saved(b, s, MT_SAVED_MAXIMA), n);
    for (int64_t y = 0; y < p->out_h; y++) mt_kernels->max_pool_grad_row(&shape, grad, maxima, y, parts->unpooled);
    r.grad = parts->unpooled;
  }
  return r;
}

static void add_gradient_sums(const mt_norm_grad_image *r, float *image_sums, double *sums) {
  mt_kernels->norm_grad_sums(r, image_sums, image_sums + r->channels);
  for (int64_t i = 0; i < 2 * r->channels; i++) sums[i] += image_sums[i];
}

/* ---- one thread's images of one stage ---- */

/* The current stage's input of image n, as mt_stage_input says. */
static const float *stage_input(const backward_pass *b, int64_t n, float *padded, const scratch_parts *parts) {
  const mt_stage_plan *p = &b->plan->stages[b->s];
  if (b->s == 0) {
    const float *image = mt_f32(b->node->saved[MT_SAVED_INPUT]) + n * mt_stage_in_count(p);
    return mt_stage_input(b->plan, 0, image, NULL, padded, NULL, NULL);
  }
  const float *statistics = mt_f32(saved(b, b->s - 1, MT_SAVED_STATISTICS));
  return mt_stage_input(b->plan, b->s, z_image(b, b->s - 1, n), statistics, padded, parts->activation, NULL);
}

/* The gradients of the convolutions' outputs, and their inputs, of `images` images from `first` on; returns the inputs.
 */
static const float *prepare_images(const backward_pass *b, const scratch_parts *parts, int64_t border, int64_t first,
                                   int64_t images) {
  const mt_stage_plan *p = &b->plan->stages[b->s];
  const float *in = NULL;
  for (int64_t i = images - 1; i >= 0; i--) {
    const float *grad = b->grad + (first + i) * mt_stage_pooled_count(p);
    const mt_norm_grad_image r = grad_image(b, b->s, first + i, grad, parts);
    mt_kernels->norm_grad(&r, b->factors, b->factors + p->out_c, parts->grad_padded + i * grad_step(b) + border,
                          grad_row(b));
    in = stage_input(b, first + i, parts->padded + i * mt_stage_in_step(b->plan, b->s), parts);
  }
  return in;
}

/* The gradient of what was added to the chain's output, of some images, in place of `out` or added to it. */
static void shortcut_gradients(const backward_pass *b, int64_t first, int64_t images, bool add, float *out) {
  const mt_stage_plan *last = &b->plan->stages[b->plan->count - 1];
  const int64_t per_image = mt_stage_out_count(last), count = images * per_image, at = first * per_image;
  const float *grad = b->grad_output + at;
  if (last->relu)
    mt_kernels->relu_grad(grad, mt_f32(b->node->saved[MT_SAVED_OUTPUT]) + at, last->limit, count, add, out + at);
  else if (add)
    mt_kernels->add(out + at, out + at, 1, grad, 1, count);
  else
    memcpy(out + at, grad, (size_t)count * sizeof(float));
}

static void input_gradients(const backward_pass *b, const scratch_parts *parts, int64_t first, int64_t images,
                            double *sums) {
  const int64_t in_count = mt_stage_in_count(&b->plan->stages[b->s]);
  float *out = b->grad_input + first * in_count;
  mt_input_grad_run(&b->back, images, parts->grad_padded, b->flipped, out, parts->conv);
  if (b->s == 0 && b->plan->adds_input) shortcut_gradients(b, first, images, true, b->grad_input);
  for (int64_t i = 0; b->s > 0 && i < images; i++) {
    const mt_norm_grad_image earlier = grad_image(b, b->s - 1, first + i, out + i * in_count, parts);
    add_gradient_sums(&earlier, parts->image_sums, sums);
  }
}

static void backward_share(const backward_pass *b, int thread) {
  const mt_stage_plan *p = &b->plan->stages[b->s];
  const int64_t lot = lot_of(b);
  scratch_parts parts;
  lay_out_scratch(b, b->scratch + thread * b->scratch_count, &parts);
  memset(parts.padded, 0, (size_t)(lot * mt_stage_copy_count(b->plan, b->s)) * sizeof(float));
  memset(parts.grad_padded, 0, (size_t)(lot * grad_step(b)) * sizeof(float));
  const int64_t border = b->back.border[0] * grad_row(b) + b->back.border[1] * p->out_c;
  const int64_t sum_floats = mt_conv_sum_floats(&p->conv);
  float *weight_sums = b->weight_sums ? b->weight_sums + thread * sum_floats : NULL;
  if (weight_sums) memset(weight_sums, 0, (size_t)sum_floats * sizeof(float));
  double *sums = b->s > 0 ? b->sums + thread * 2 * (p - 1)->out_c : NULL;
  int64_t begin, end;
  share_of(b, thread, &begin, &end);
  for (int64_t first = begin; first < end; first += lot) {
    const int64_t images = end - first < lot ? end - first : lot;
    const float *in = prepare_images(b, &parts, border, first, images);
    if (weight_sums)
      mt_conv_weight_grad(&p->conv, &(mt_conv_grad_call){.images = images,
                                                         .rows = p->out_h,
                                                         .in = in,
                                                         .in_row = p->conv.in_w * p->in_c,
                                                         .in_image = mt_stage_in_step(b->plan, b->s),
                                                         .grad = parts.grad_padded + border,
                                                         .grad_row = grad_row(b),
                                                         .grad_image = grad_step(b),
                                                         .sums = weight_sums,
                                                         .scratch = parts.conv});
    if (b->flipped) input_gradients(b, &parts, first, images, sums);
  }
}

static void backward_shares(const void *context, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; t++) backward_share(context, (int)t);
}

/* ---- the stages in turn ---- */

/* The last convolution's output once more, of image n. */
static void recompute_z(const backward_pass *b, const scratch_parts *parts, const float *weights, int64_t n) {
  const mt_stage_plan *p = &b->plan->stages[b->s];
  const float *in = stage_input(b, n, parts->padded, parts);
  const mt_conv_call call = {.images = 1,
                             .rows = p->out_h,
                             .in = in,
                             .in_row = p->conv.in_w * p->in_c,
                             .weights = weights,
                             .out = b->last_z + n * mt_stage_out_count(p),
                             .out_pixel = p->out_c,
                             .out_row = p->out_w * p->out_c,
                             .scratch = parts->conv};
  mt_conv_run(&p->conv, &call);
}

typedef struct {
  const backward_pass *pass;
  const float *weights; /* NULL: nothing is recomputed */
} last_stage;

static void last_stage_share(const backward_pass *b, const float *weights, int thread) {
  const mt_stage_plan *p = &b->plan->stages[b->s];
  scratch_parts parts;
  int64_t begin, end;
  lay_out_scratch(b, b->scratch + thread * b->scratch_count, &parts);
  share_of(b, thread, &begin, &end);
  if (weights) memset(parts.padded, 0, (size_t)mt_stage_copy_count(b->plan, b->s) * sizeof(float));
  for (int64_t n = begin; n < end; n++) {
    if (weights) recompute_z(b, &parts, weights, n);
    const mt_norm_grad_image r = grad_image(b, b->s, n, b->grad + n * mt_stage_pooled_count(p), &parts);
    add_gradient_sums(&r, parts.image_sums, b->sums + thread * 2 * p->out_c);
  }
}

static void last_stage_shares(const void *context, int64_t begin, int64_t end) {
  const last_stage *last = context;
  for (int64_t t = begin; t < end; t++) last_stage_share(last->pass, last->weights, (int)t);
}

/* The sums of the last stage, straight from the gradient that came in; nothing else could gather them. Where the last
 * convolution's output was not kept, this makes it first. */
static int last_stage_sums(backward_pass *b) {
  const mt_stage_plan *p = &b->plan->stages[b->s];
  const bool recomputes = b->plan->recomputes;
  float *weights = NULL;
  b->back = plan_back(b, false);
  b->scratch_count = lay_out_scratch(b, NULL, NULL);
  b->scratch = mt_alloc((size_t)(b->threads * b->scratch_count) * sizeof(float));
  int status = b->scratch ? 0 : -1;
  if (status == 0 && recomputes) {
    b->last_z = mt_alloc((size_t)(b->plan->images * mt_stage_out_count(p)) * sizeof(float));
    weights = mt_alloc((size_t)mt_conv_weight_floats(&p->conv) * sizeof(float));
    status = b->last_z && weights ? 0 : -1;
    const mt_taps taps = mt_conv_own_taps(&p->conv, mt_f32(saved(b, b->s, MT_SAVED_WEIGHT)));
    if (status == 0) status = mt_conv_prepare(&p->conv, &taps, weights);
  }
  if (status == 0) mt_parallel(b->threads, 1, last_stage_shares, &(last_stage){b, weights});
  mt_free(weights);
  mt_free(b->scratch);
  b->scratch = NULL;
  return status;
}

static mt_tensor *channel_vector(int64_t channels) { return mt_tensor_zeros(MT_FLOAT32, 1, &channels); }

/* From the sums: the gradients of gamma, beta and the convolution's bias, and the factors that make the gradient of z
 * from the gradient behind the ReLU. The bias's is exactly zero: normalisation takes any constant away again. */
static int finish_sums(backward_pass *b, mt_tensor **grads) {
  const mt_stage_plan *p = &b->plan->stages[b->s];
  const bool *needs = b->node->needs + MT_CHAIN_STAGES + b->s * MT_STAGE_INPUTS;
  const int wanted[] = {MT_STAGE_BIAS, MT_STAGE_GAMMA, MT_STAGE_BETA};
  for (int i = 0; i < 3; i++)
    if (needs[wanted[i]] && !(grads[wanted[i]] = channel_vector(p->out_c))) return -1;
  for (int64_t i = 0; i < 2 * p->out_c; i++)
    for (int t = 1; t < b->threads; t++) b->sums[i] += b->sums[t * 2 * p->out_c + i];
  const float *statistics = mt_f32(saved(b, b->s, MT_SAVED_STATISTICS));
  mt_norm_grads(statistics, p->out_c, b->sums, grads[MT_STAGE_GAMMA], grads[MT_STAGE_BETA]);
  return mt_norm_factors(statistics, p->out_c, b->sums, b->plan->images * p->out_h * p->out_w, b->factors);
}

static int prepare_stage(backward_pass *b, bool input_needed, bool weight_needed) {
  const mt_stage_plan *p = &b->plan->stages[b->s];
  b->flipped = b->weight_sums = NULL;
  b->back = plan_back(b, input_needed);
  if (input_needed) {
    b->flipped = mt_alloc((size_t)(mt_input_grad_phases(&b->back) * b->back.weights) * sizeof(float));
    if (!b->flipped || mt_input_grad_prepare(&b->back, mt_f32(saved(b, b->s, MT_SAVED_WEIGHT)), b->flipped) < 0)
      return -1;
  }
  if (weight_needed) {
    const size_t bytes = (size_t)(b->threads * mt_conv_sum_floats(&p->conv)) * sizeof(float);
    b->weight_sums = mt_alloc(bytes);
    if (!b->weight_sums) return -1;
  }
  b->scratch_count = lay_out_scratch(b, NULL, NULL);
  b->scratch = mt_alloc((size_t)(b->threads * b->scratch_count) * sizeof(float));
  return b->scratch ? 0 : -1;
}

static void clean_up_stage(backward_pass *b) {
  mt_free(b->flipped);
  mt_free(b->weight_sums);
  mt_free(b->scratch);
  b->flipped = b->weight_sums = b->scratch = NULL;
}

static int weight_result(const backward_pass *b, mt_tensor **grad) {
  *grad = mt_tensor_like(saved(b, b->s, MT_SAVED_WEIGHT));
  if (!*grad) return -1;
  return mt_conv_weight_result(&b->plan->stages[b->s].conv, b->weight_sums, b->threads, mt_f32(*grad));
}

/* Stage b->s; *grad_input receives the gradient of its input where that is needed. */
static int backward_stage(backward_pass *b, mt_tensor **grads, mt_tensor **grad_input) {
  const mt_chain_plan *whole = b->plan, cut = mt_chain_cut(whole, b->s);
  const mt_stage_plan *p = &whole->stages[b->s];
  const bool input_needed = b->s > b->plan->first || b->node->needs[MT_CHAIN_INPUT];
  mt_tensor **mine = grads + MT_CHAIN_STAGES + b->s * MT_STAGE_INPUTS;
  const bool weight_needed = b->node->needs[MT_CHAIN_STAGES + b->s * MT_STAGE_INPUTS + MT_STAGE_WEIGHT];
  if (finish_sums(b, mine) < 0) return -1;
  if (input_needed) {
    const int64_t shape[4] = {b->plan->images, p->in_h, p->in_w, p->in_c};
    *grad_input = mt_tensor_new(MT_FLOAT32, 4, shape);
    if (!*grad_input) return -1;
    b->grad_input = mt_f32(*grad_input);
  }
  b->plan = &cut;
  int status = prepare_stage(b, input_needed, weight_needed);
  if (status == 0) {
    if (b->s > 0) memset(b->sums, 0, (size_t)(b->threads * 2 * (p - 1)->out_c) * sizeof(double));
    mt_parallel(b->threads, 1, backward_shares, b);
    if (weight_needed) status = weight_result(b, &mine[MT_STAGE_WEIGHT]);
  }
  clean_up_stage(b);
  b->plan = whole;
  return status;
}

typedef struct {
  const backward_pass *pass;
  float *out;
} residual_work;

static void residual_images(const void *context, int64_t begin, int64_t end) {
  const residual_work *w = context;
  shortcut_gradients(w->pass, begin, end - begin, false, w->out);
}

static int residual_gradient(const backward_pass *b, const mt_tensor *grad_output, mt_tensor **grad) {
  *grad = mt_tensor_like(grad_output);
  if (!*grad) return -1;
  const int64_t images = b->plan->images;
  mt_parallel(images, mt_chunk(images, (*grad)->count / images, 1 << 14), residual_images,
              &(residual_work){b, mt_f32(*grad)});
  return 0;
}

static int64_t most_channels(const mt_chain_plan *plan) {
  int64_t most = 0;
  for (int s = 0; s < plan->count; s++)
    if (plan->stages[s].out_c > most) most = plan->stages[s].out_c;
  return most;
}

int mt_chain_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const mt_chain_plan *plan = node->context;
  backward_pass b = {.plan = plan,
                     .node = node,
                     .grad_output = mt_f32(grad_output),
                     .grad = mt_f32(grad_output),
                     .s = plan->count - 1};
  b.threads = mt_chain_threads(plan);
  const size_t channels = (size_t)most_channels(plan), sums_bytes = (size_t)b.threads * 2 * channels * sizeof(double);
  b.sums = mt_alloc(sums_bytes);
  b.factors = mt_alloc(2 * channels * sizeof(float));
  int status = b.sums && b.factors ? 0 : -1;
  if (status == 0 && plan->first < plan->count) {
    memset(b.sums, 0, sums_bytes);
    status = last_stage_sums(&b);
  }
  if (status == 0 && node->needs[MT_CHAIN_RESIDUAL])
    status = residual_gradient(&b, grad_output, &grads[MT_CHAIN_RESIDUAL]);
  mt_tensor *grad = NULL; /* of the current stage's output; the last stage's is the caller's */
  for (; status == 0 && b.s >= plan->first; b.s--) {
    mt_tensor *grad_input = NULL;
    status = backward_stage(&b, grads, &grad_input);
    mt_free(b.last_z);
    b.last_z = NULL;
    mt_release(grad);
    grad = grad_input;
    if (grad) b.grad = mt_f32(grad);
  }
  if (status == 0)
    grads[MT_CHAIN_INPUT] = grad;
  else
    mt_release(grad);
  mt_free(b.last_z);
  mt_free(b.sums);
  mt_free(b.factors);
  return status;
}
